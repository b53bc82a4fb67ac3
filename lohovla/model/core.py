"""The hybrid core, and its heads: one decoder over ``[prefix] [words] [sub-goal] [points]``, see :mod:`.layout`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, DynamicCache, PreTrainedModel

from lohovla.d2f.denoiser import CACHE
from lohovla.model.action import Expert
from lohovla.model.autoencoder import Autoencoder
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.layout import Kind, Layout, Places, additive
from lohovla.model.picture import Painter
from lohovla.model.pointer import FOURIER_DIM, Pointer, fourier
from lohovla.model.progress import ProgressHead
from lohovla.model.stem import COMPANY_DIM, FACT_DIM, Objects, Seen, Stem, choose_objects, company, halves
from lohovla.model.subgoal import SubgoalEntry

ROLES = 3  # what becomes of an object: it moves, it receives, it receives next; see lohovla.collect.labels.roles_of

PICTURE_PARTS = ("autoencoder.", "painter.", "image_entry.")


@dataclass
class Inputs:
    """A batch of observations, as the processor makes them.

    Attributes:
        picture: colour in [-1, 1] and depth in decimetres (B, 4, rows, columns).
        state: proprioception, m and rad (B, 13).
        goal: tokens of the goal sentence (B, G), padded on the right.
        goal_valid: which of them are real (B, G).
    """

    picture: Tensor
    state: Tensor
    goal: Tensor
    goal_valid: Tensor

    def to(self, device: torch.device | str) -> Inputs:
        """On another device."""
        return Inputs(*(value.to(device) for value in vars(self).values()))


@dataclass
class Prefix:
    """An encoded observation: what everything after it is made from.

    Attributes:
        seen: the stem's map.
        objects: the cells that are tokens.
        tokens: the decoder's states of those tokens (B, K, hidden).
        layout: of what the cache holds.
        cache: keys and values.
        state: proprioception (B, 13).
    """

    seen: Seen
    objects: Objects
    tokens: Tensor
    layout: Layout
    cache: DynamicCache
    state: Tensor


class LoHoVLA(PreTrainedModel):
    """The model.

    Calls beside training (see :mod:`lohovla.train.sequence`): :meth:`encode` an observation, then
    :mod:`lohovla.model.planning` for the sub-task, :mod:`lohovla.model.pointing` for its points,
    :mod:`lohovla.model.acting` for chunks, :mod:`lohovla.model.picture` for sub-goal pictures.
    """

    config_class = LoHoVLAConfig
    config: LoHoVLAConfig
    base_model_prefix = "lohovla"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(
        self, config: LoHoVLAConfig, decoder: PreTrainedModel | None = None, vision: PreTrainedModel | None = None
    ):
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.places = Places.of(config)
        self.stem = Stem(config)
        self.decoder = decoder if decoder is not None else AutoModel.from_config(config.text_config)
        self.object_entry = nn.Sequential(
            nn.Linear(config.stem_dim + FACT_DIM + FOURIER_DIM + 2 + COMPANY_DIM, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
        )
        self.state_entry = nn.Sequential(nn.Linear(config.state_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.kind_entry = nn.Embedding(int(Kind.PATCH) + bool(config.vision_config), hidden)
        self.point_entry = nn.Embedding(2, hidden)
        self.subgoal_entry = SubgoalEntry(config)
        self.pointer = Pointer(config)
        self.roles = nn.Linear(hidden, ROLES)  # of objects, given the goal: a dense target of training alone
        self.progress = ProgressHead(config)
        self.experts = nn.ModuleDict({control: Expert(config, control) for control in config.horizons})
        self.add_picture_parts()
        if config.vision_config:
            self.vision = vision if vision is not None else AutoModel.from_config(config.vision_config)
            self.projector = nn.Linear(config.vision_config.hidden_size, hidden)
        self.post_init()
        self._set_backbone()

    def add_picture_parts(self) -> None:
        """Make, or make anew, what codes and paints sub-goals: :data:`PICTURE_PARTS`."""
        self.autoencoder = Autoencoder(self.config)
        self.painter = Painter(self.config)

    def _set_backbone(self) -> None:
        """Give the backbone its precision and its adapters; these stay in float32, as small steps need it."""
        config, parts = self.config, (self.decoder, getattr(self, "vision", None), getattr(self, "projector", None))
        if config.backbone_dtype != "float32":
            for part in parts:
                for parameter in part.parameters() if part is not None else ():
                    # Not `part.to`: the frequencies of the rotary embedding must stay exact.
                    parameter.data = parameter.data.to(getattr(torch, config.backbone_dtype))
        if config.lora_rank:
            add_lora(self.decoder, config.lora_rank)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave layers as they initialised themselves; embeddings are small, as decoders expect."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    # -- entries -----------------------------------------------------------------------------------------

    def words(self, tokens: Tensor, kind: Kind) -> Tensor:
        """Embedded words (B, n, hidden) of one kind of position."""
        return self.decoder.get_input_embeddings()(tokens) + self.kind_entry.weight[int(kind)]

    def patch_tokens(self, picture: Tensor) -> Tensor:
        """Embedded patches (B, N, hidden) of the stem's picture (B, 4, H, W): its colours alone.

        The whole picture is squeezed into the tower's square, as PaliGemma's own processor does.
        """
        edge = self.config.vision_config.image_size  # type: ignore
        color = F.interpolate(picture[:, :3].float(), (edge, edge), mode="bicubic", antialias=True, align_corners=False)
        states = self.vision(color.clamp(-1, 1)).last_hidden_state
        return self.projector(states) * _patch_scale(self.decoder) + self.kind_entry.weight[int(Kind.PATCH)]

    def object_tokens(self, objects: Objects) -> Tensor:
        """Embedded objects (B, K, hidden)."""
        places = fourier(objects.xy), halves(objects.xy, self.config)
        given = torch.cat([objects.features, objects.facts, *places, company(objects.facts)], -1)
        return self.object_entry(given) + self.kind_entry.weight[int(Kind.OBJECT)]

    def prefix_tokens(self, inputs: Inputs, objects: Objects) -> tuple[Tensor, Layout, Tensor]:
        """The prefix embedded (B, L, hidden), its layout, and its position numbers (B, L)."""
        batch, device = inputs.state.shape[0], inputs.state.device
        state = self.state_entry(inputs.state)[:, None] + self.kind_entry.weight[int(Kind.STATE)]
        parts = {Kind.OBJECT: self.object_tokens(objects)}
        if self.config.vision_config:
            parts[Kind.PATCH] = self.patch_tokens(inputs.picture)
        # The goal is last, as its padding must be at the end of the prefix.
        parts |= {Kind.STATE: state, Kind.GOAL: self.words(inputs.goal, Kind.GOAL)}
        valid = {kind: torch.ones(part.shape[:2], dtype=torch.bool, device=device) for kind, part in parts.items()} | {
            Kind.GOAL: inputs.goal_valid
        }
        layout = Layout.join([Layout.part(kind, valid[kind]) for kind in parts])
        own = self.places
        first = {Kind.OBJECT: own.object, Kind.PATCH: own.patch, Kind.STATE: own.state, Kind.GOAL: own.goal}
        step = {kind: int(kind is not Kind.OBJECT) for kind in parts}
        places = torch.cat(
            [first[kind] + step[kind] * torch.arange(part.shape[1], device=device) for kind, part in parts.items()]
        )
        return torch.cat(list(parts.values()), 1), layout, places.expand(batch, -1)

    def point_tokens(self, seen: Seen | None, picked: Tensor | None, rows: int = 1) -> Tensor:
        """The picking token of some rows, or the placing one told the cell ``picked`` (B, 1): (B, 1, hidden)."""
        which = 0 if picked is None else 1
        token = (self.point_entry.weight[which] + self.kind_entry.weight[int(Kind.POINT)])[None, None]
        if picked is None or seen is None:
            return token.expand(rows, -1, -1)
        return token + self.pointer.embed(seen, picked)

    # -- passes ------------------------------------------------------------------------------------------

    def see(self, inputs: Inputs) -> tuple[Seen, Objects]:
        """The stem's pass."""
        seen = self.stem(inputs.picture.to(self.dtype))
        return seen, choose_objects(seen, self.config)

    def run(
        self,
        tokens: Tensor,
        layout: Layout,
        places: Tensor,
        cache: DynamicCache | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """The decoder's states of ``tokens`` (B, n, hidden), the last ``n`` positions of ``layout``.

        ``cache`` holds the positions before them and is extended.
        """
        n = tokens.shape[1]
        if allowed is None:
            allowed = layout.allowed(slice(layout.kind.shape[1] - n, None))
        given = tokens.to(self.decoder.dtype)
        out = self.decoder(
            inputs_embeds=given,
            attention_mask=additive(allowed, given.dtype),
            position_ids=places,
            use_cache=cache is not None,
            **{CACHE: cache},
        )
        return out.last_hidden_state.to(tokens.dtype)

    @torch.no_grad()
    def encode(self, inputs: Inputs) -> Prefix:
        """Run an observation through stem and decoder."""
        seen, objects = self.see(inputs)
        tokens, layout, places = self.prefix_tokens(inputs, objects)
        cache = DynamicCache(config=self.decoder.config)
        states = self.run(tokens, layout, places, cache)
        return Prefix(seen, objects, states[:, : objects.cell.shape[1]], layout, cache, inputs.state)

    def vocabulary_logits(self, states: Tensor) -> Tensor:
        """Logits (..., vocabulary) of decoder states; the head is tied to the embeddings."""
        weight = self.decoder.get_input_embeddings().weight
        return (states.to(weight.dtype) @ weight.t()).to(states.dtype)  # type: ignore

    def expert_cache(self, cache: Any) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the layers that the experts read, one for each of their heads, in their precision."""
        return self.expert_pairs([(layer.keys, layer.values) for layer in cache.layers])

    def expert_pairs(self, cache: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """:meth:`expert_cache` of the keys and values of all layers."""
        layers = cache[-self.config.expert_layers :]
        groups = self.config.expert_heads // layers[0][0].shape[1]

        def shared(x: Tensor) -> Tensor:
            x = x.to(self.dtype) if self.config.backbone_dtype != "float32" else x
            return x.repeat_interleave(groups, 1) if groups > 1 else x

        return [(shared(keys), shared(values)) for keys, values in layers]


def add_lora(decoder: PreTrainedModel, rank: int) -> None:
    """Put LoRA adapters (Hu et al., 2106.09685; alpha equals the rank) into all linear layers of a decoder."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear"), decoder)
    for name, parameter in decoder.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _patch_scale(decoder: PreTrainedModel) -> float:
    """What projected patches are multiplied by to stand beside embedded words.

    Gemma's words are scaled by the root of the width. Newer transformers do it in the embedding, so that patches go in
    as they are; older ones scale whatever goes into the decoder, and PaliGemma divides its patches beforehand.
    """
    scaled_inside = decoder.config.model_type == "gemma" and not hasattr(decoder.get_input_embeddings(), "embed_scale")
    return decoder.config.hidden_size**-0.5 if scaled_inside else 1.0


AutoModel.register(LoHoVLAConfig, LoHoVLA)
