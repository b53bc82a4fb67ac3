"""The model: one decoder over ``[prefix] [words] [sub-goal] [points]`` (:mod:`.attention_mask`), and its heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, DynamicCache, PreTrainedModel

from lohovla.d2f.denoiser import CACHE, attention_bias
from lohovla.model.action.action_expert import ActionExpert
from lohovla.model.attention_mask import PositionIds, SequenceLayout, TokenType
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.camera_encoder import CameraEncoder, CameraSummary
from lohovla.model.encoders.detector import (
    COMPANY_DIM,
    DetectionMap,
    Detections,
    ObjectDetector,
    same_color_counts,
    table_side_encoding,
    top_detections,
)
from lohovla.model.encoders.fourier import FOURIER_DIM, fourier_features
from lohovla.model.encoders.object_schema import FACT_DIM
from lohovla.model.encoders.subgoal_encoder import SubgoalEncoder
from lohovla.model.keyframes.keyframe_head import KeyframeHead
from lohovla.model.keyframes.pick_place_head import PickPlaceHead
from lohovla.model.model_inputs import EncodedObservation, ModelInputs
from lohovla.model.robot_inputs import EncodedRobotObservation, RobotInputs
from lohovla.model.subgoal.autoencoder import Autoencoder
from lohovla.model.subgoal.subgoal_generator import SubgoalGenerator
from lohovla.model.success_detector import ProgressHead

ROLES = 3  # an object moves, receives, or receives next: lohovla.collect.privileged_labels.roles_of

SUBGOAL_PARTS = ("autoencoder.", "painter.", "image_entry.")


class LoHoVLA(PreTrainedModel):
    """The model.

    Calls beside training (see :mod:`lohovla.train.training_forward`): :meth:`encode` an observation, then
    ``subtask_decoding`` for the sub-task, ``pick_place_prediction`` for its points,
    ``action_sampling`` for chunks, ``subgoal_generator`` for sub-goal pictures.
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
        self.places = PositionIds.from_config(config)
        # The first weights tell the heads' precision (``dtype``): float32, whatever the backbone's is.
        if config.detector:
            self.stem = ObjectDetector(config)
        if config.features:
            self.keyframe_head = KeyframeHead(config)
            if not config.vision_config:
                self.camera_encoder = CameraEncoder(config)
                self.camera_summary = CameraSummary(config)
        self.decoder = decoder if decoder is not None else AutoModel.from_config(config.text_config)
        if config.detector:
            self.object_entry = nn.Sequential(
                nn.Linear(config.stem_dim + FACT_DIM + FOURIER_DIM + 2 + COMPANY_DIM, hidden),
                nn.SiLU(),
                nn.Linear(hidden, hidden),
            )
        self.state_entry = nn.Sequential(nn.Linear(config.state_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        patches = bool(config.vision_config or config.features)
        self.kind_entry = nn.Embedding(int(TokenType.PATCH) + patches, hidden)
        if config.detector:
            self.point_entry = nn.Embedding(2, hidden)
            self.subgoal_entry = SubgoalEncoder(config)
            self.pointer = PickPlaceHead(config)
            self.roles = nn.Linear(hidden, ROLES)  # of objects, given the goal: a dense target of training alone
            self.progress = ProgressHead(config)
        spaces = [*(config.horizons if config.detector else ()), *(("action",) if config.features else ())]
        self.experts = nn.ModuleDict({space: ActionExpert(config, space) for space in spaces})
        if config.detector:
            self.add_subgoal_parts()
        if config.vision_config:
            self.vision = vision if vision is not None else AutoModel.from_config(config.vision_config)
            self.projector = nn.Linear(config.vision_config.hidden_size, hidden)
        self.post_init()
        self._set_backbone()

    def add_subgoal_parts(self) -> None:
        """Make, or make anew, what codes and paints sub-goals: :data:`SUBGOAL_PARTS`."""
        self.autoencoder = Autoencoder(self.config)
        self.painter = SubgoalGenerator(self.config)

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

    def embed_tokens(self, tokens: Tensor, kind: TokenType) -> Tensor:
        """Embedded words (B, n, hidden) of one kind of position."""
        return self.decoder.get_input_embeddings()(tokens) + self.kind_entry.weight[int(kind)]

    def patch_tokens(self, picture: Tensor) -> Tensor:
        """Embedded patches (B, N, hidden) of the stem's picture (B, 4, H, W): its colours alone.

        The whole picture is squeezed into the tower's square, as PaliGemma's own processor does.
        """
        edge = self.config.vision_config.image_size  # type: ignore
        color = F.interpolate(picture[:, :3].float(), (edge, edge), mode="bicubic", antialias=True, align_corners=False)
        states = self.vision(color.clamp(-1, 1)).last_hidden_state
        return self.projector(states) * _patch_scale(self.decoder) + self.kind_entry.weight[int(TokenType.PATCH)]

    def object_tokens(self, objects: Detections) -> Tensor:
        """Embedded objects (B, K, hidden)."""
        places = fourier_features(objects.xy), table_side_encoding(objects.xy, self.config)
        given = torch.cat([objects.features, objects.facts, *places, same_color_counts(objects.facts)], -1)
        return self.object_entry(given) + self.kind_entry.weight[int(TokenType.OBJECT)]

    def prefix_tokens(self, inputs: ModelInputs, objects: Detections) -> tuple[Tensor, SequenceLayout, Tensor]:
        """The prefix embedded (B, L, hidden), its layout, and its position numbers (B, L)."""
        parts = {TokenType.OBJECT: self.object_tokens(objects)}
        if self.config.vision_config:
            parts[TokenType.PATCH] = self.patch_tokens(inputs.picture)
        return self._join_prefix(parts, inputs)

    def robot_prefix_tokens(self, inputs: RobotInputs) -> tuple[Tensor, SequenceLayout, Tensor]:
        """The same of a robot's cameras and state."""
        if self.config.vision_config:
            tokens = torch.cat([self.patch_tokens(inputs.images[name]) for name in self.config.cameras], 1)
        else:
            told = self.decoder.get_input_embeddings()(inputs.told).to(self.dtype)
            tokens = self.camera_encoder(inputs.images, told, inputs.told_valid)
            tokens = tokens + self.kind_entry.weight[int(TokenType.PATCH)]
        return self._join_prefix({TokenType.PATCH: tokens}, inputs)

    def _join_prefix(
        self, parts: dict[TokenType, Tensor], inputs: ModelInputs | RobotInputs
    ) -> tuple[Tensor, SequenceLayout, Tensor]:
        batch, device = inputs.state.shape[0], inputs.state.device
        state = self.state_entry(inputs.state)[:, None] + self.kind_entry.weight[int(TokenType.STATE)]
        # The goal is last, as its padding must be at the end of the prefix.
        parts |= {TokenType.STATE: state, TokenType.GOAL: self.embed_tokens(inputs.goal, TokenType.GOAL)}
        valid = {kind: torch.ones(part.shape[:2], dtype=torch.bool, device=device) for kind, part in parts.items()} | {
            TokenType.GOAL: inputs.goal_valid
        }
        layout = SequenceLayout.concat([SequenceLayout.of_type(kind, valid[kind]) for kind in parts])
        own = self.places
        first = {
            TokenType.OBJECT: own.object,
            TokenType.PATCH: own.patch,
            TokenType.STATE: own.state,
            TokenType.GOAL: own.goal,
        }
        # Objects and the camera encoder's tokens are sets: each set stands at one position.
        sets = {TokenType.OBJECT} | (set() if self.config.vision_config else {TokenType.PATCH})
        step = {kind: int(kind not in sets) for kind in parts}
        places = torch.cat(
            [first[kind] + step[kind] * torch.arange(part.shape[1], device=device) for kind, part in parts.items()]
        )
        return torch.cat(list(parts.values()), 1), layout, places.expand(batch, -1)

    def point_tokens(self, seen: DetectionMap | None, picked: Tensor | None, rows: int = 1) -> Tensor:
        """The picking token of some rows, or the placing one told the cell ``picked`` (B, 1): (B, 1, hidden)."""
        which = 0 if picked is None else 1
        token = (self.point_entry.weight[which] + self.kind_entry.weight[int(TokenType.POINT)])[None, None]
        if picked is None or seen is None:
            return token.expand(rows, -1, -1)
        return token + self.pointer.embed(seen, picked)

    # -- passes ------------------------------------------------------------------------------------------

    def detect_objects(self, inputs: ModelInputs) -> tuple[DetectionMap, Detections]:
        """The stem's pass."""
        seen = self.stem(inputs.picture.to(self.dtype))
        return seen, top_detections(seen, self.config)

    def run(
        self,
        tokens: Tensor,
        layout: SequenceLayout,
        places: Tensor,
        cache: DynamicCache | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """The decoder's states of ``tokens`` (B, n, hidden), the last ``n`` positions of ``layout``.

        ``cache`` holds the positions before them and is extended.
        """
        n = tokens.shape[1]
        if allowed is None:
            allowed = layout.attention_mask(slice(layout.kind.shape[1] - n, None))
        given = tokens.to(self.decoder.dtype)
        out = self.decoder(
            inputs_embeds=given,
            attention_mask=attention_bias(allowed, given.dtype),
            position_ids=places,
            use_cache=cache is not None,
            **{CACHE: cache},
        )
        return out.last_hidden_state.to(tokens.dtype)

    @torch.no_grad()
    def encode(self, inputs: ModelInputs) -> EncodedObservation:
        """Run an observation through stem and decoder."""
        seen, objects = self.detect_objects(inputs)
        tokens, layout, places = self.prefix_tokens(inputs, objects)
        cache = DynamicCache(config=self.decoder.config)
        states = self.run(tokens, layout, places, cache)
        return EncodedObservation(seen, objects, states[:, : objects.cell.shape[1]], layout, cache, inputs.state)

    @torch.no_grad()
    def encode_robot(self, inputs: RobotInputs) -> EncodedRobotObservation:
        """Run an observation of a robot through camera encoder and decoder."""
        tokens, layout, places = self.robot_prefix_tokens(inputs)
        cache = DynamicCache(config=self.decoder.config)
        states = self.run(tokens, layout, places, cache)
        return EncodedRobotObservation(layout, cache, inputs.state, self.summarize_cameras(states))

    def summarize_cameras(self, states: Tensor) -> Tensor | float:
        """The cameras as one vector (B, hidden), of the states of a robot's prefix; 0 where a tower's patches are."""
        if self.config.vision_config:
            return 0.0
        # The cameras' tokens are the first of the prefix: see _join_prefix.
        return self.camera_summary(states[:, : len(self.config.cameras) * self.config.camera_tokens])

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
