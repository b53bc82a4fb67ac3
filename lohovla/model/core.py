"""The hybrid core: one decoder over ``[objects | state | goal] [sub-task] [points]``, and its heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, DynamicCache, PreTrainedModel

from lohovla.model.action import Expert
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.layout import Kind, Layout, Places, additive
from lohovla.model.picture import Painter, make_autoencoder
from lohovla.model.pointer import FOURIER_DIM, Pointer, fourier
from lohovla.model.progress import ProgressHead
from lohovla.model.stem import FACT_DIM, Objects, Seen, Stem, choose_objects


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

    Calls beside training (see :mod:`lohovla.train.objectives`): :meth:`encode` an observation, then
    :mod:`lohovla.model.planning` for the sub-task and the points, :mod:`lohovla.model.acting` for chunks,
    :mod:`lohovla.model.picture` for sub-goal pictures.
    """

    config_class = LoHoVLAConfig
    config: LoHoVLAConfig
    base_model_prefix = "lohovla"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: LoHoVLAConfig):
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.places = Places.of(config)
        self.stem = Stem(config)
        self.decoder = AutoModel.from_config(config.text_config)
        self.object_entry = nn.Sequential(
            nn.Linear(config.stem_dim + FACT_DIM + FOURIER_DIM, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.state_entry = nn.Sequential(nn.Linear(config.state_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.kind_entry = nn.Embedding(len(Kind), hidden)
        self.point_entry = nn.Embedding(2, hidden)
        self.pointer = Pointer(config)
        self.progress = ProgressHead(config)
        self.experts = nn.ModuleDict({control: Expert(config, control) for control in config.horizons})
        self.autoencoder = make_autoencoder(config)
        self.painter = Painter(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave layers as they initialised themselves; embeddings are small, as decoders expect."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    # -- entries -----------------------------------------------------------------------------------------

    def words(self, tokens: Tensor, kind: Kind) -> Tensor:
        """Embedded words (B, n, hidden) of one kind of position."""
        return self.decoder.get_input_embeddings()(tokens) + self.kind_entry.weight[int(kind)]

    def object_tokens(self, objects: Objects) -> Tensor:
        """Embedded objects (B, K, hidden)."""
        given = torch.cat([objects.features, objects.facts, fourier(objects.xy)], -1)
        return self.object_entry(given) + self.kind_entry.weight[int(Kind.OBJECT)]

    def prefix_tokens(self, inputs: Inputs, objects: Objects) -> tuple[Tensor, Layout, Tensor]:
        """The prefix embedded (B, L, hidden), its layout, and its position numbers (B, L)."""
        batch, device = inputs.state.shape[0], inputs.state.device
        state = self.state_entry(inputs.state)[:, None] + self.kind_entry.weight[int(Kind.STATE)]
        parts = [self.object_tokens(objects), state, self.words(inputs.goal, Kind.GOAL)]
        always = torch.ones(batch, parts[0].shape[1] + 1, dtype=torch.bool, device=device)
        layout = Layout.join(
            [
                Layout.part(Kind.OBJECT, always[:, :-1]),
                Layout.part(Kind.STATE, always[:, :1]),
                Layout.part(Kind.GOAL, inputs.goal_valid),
            ]
        )
        places = torch.cat(
            [
                torch.zeros(parts[0].shape[1], dtype=torch.long, device=device),
                torch.tensor([self.places.state], device=device),
                self.places.goal + torch.arange(inputs.goal.shape[1], device=device),
            ]
        )
        return torch.cat(parts, 1), layout, places.expand(batch, -1)

    def point_tokens(self, seen: Seen, picked: Tensor | None) -> Tensor:
        """The picking token, or the placing one told the cell ``picked`` (B, 1) from (B, 1, hidden)."""
        which = 0 if picked is None else 1
        token = (self.point_entry.weight[which] + self.kind_entry.weight[int(Kind.POINT)])[None, None]
        if picked is None:
            return token.expand(seen.map.shape[0], -1, -1)
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
        bias = additive(allowed, tokens.dtype)
        out = self.decoder(
            inputs_embeds=tokens,
            attention_mask=bias,
            position_ids=places,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

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
        return states @ self.decoder.get_input_embeddings().weight.t()

    def expert_cache(self, cache: Any) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the layers that the action expert reads."""
        layers = cache.layers[-self.config.expert_layers :]
        groups = self.config.expert_heads // layers[0].keys.shape[1]
        return [
            (layer.keys.repeat_interleave(groups, 1), layer.values.repeat_interleave(groups, 1)) if groups > 1
            else (layer.keys, layer.values)
            for layer in layers
        ]  # fmt: skip


AutoModel.register(LoHoVLAConfig, LoHoVLA)
