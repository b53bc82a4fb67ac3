"""The configuration of the hybrid core; sizes are presets of the same class."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from lohovla.errors import UserError
from lohovla.settings.renamed_settings import MODEL_SETTINGS, new_stage

ACTION_DIMS = {"ee": 7, "pick_place": 8}
DEPTH_UNIT = 0.1  # m, of the stem's picture
PRECISIONS = ("float32", "bfloat16")
NORMALIZATIONS = ("mean_std", "quantiles", "min_max")


class LoHoVLAConfig(PretrainedConfig):
    """Sizes and choices of :class:`lohovla.model.modeling_lohovla.LoHoVLA`.

    Args:
        text_config: the decoder, any decoder-only configuration of transformers (``qwen3``, ``gemma``), or its dict.
        vision_config: a SigLIP configuration whose patches join the prefix, or its dict, or None.
        detector: the parts that read the block world: the detector of objects, the pick-and-place pointer, the
            way-point action heads, the sub-goal head, and the success detector at the pointer's places.
        features: what a core that learns from demonstrations reads and says, as
            :meth:`lohovla.data.features.RobotFeatures.to_dict` gives it; None is none of that.
        normalization: of its states and actions: ``mean_std``, ``quantiles`` or ``min_max``.
        relative_actions: the state's number that each of these numbers of an action is learned relative to, see
            :class:`lohovla.model.action.action_representation.ActionRepresentation`.
        rotation_actions: triples of an action's numbers that are rotation vectors, learned as six numbers each.
        chunk_size: its actions in a chunk.
        camera_tokens: tokens of each camera.
        camera_width: channels of the camera encoder.
        keypoint_maps: attention maps of a camera token, each of which gives a place in the picture.
        keyframes: it predicts the state at the next keyframe, and the chunk is conditioned on it.
        picture_size: rows and columns of the top view that the stem sees.
        stem_width: channels at a quarter of the resolution.
        stem_dim: channels at an eighth, where the stem's map is read.
        stem_blocks: residual blocks at the two resolutions.
        num_object_tokens: places of the map that become tokens of the prefix.
        workspace_xy: x and y limits (m) of the top view, from its calibration.
        state_dim: numbers of proprioception.
        max_goal: tokens of a goal sentence.
        goal_positions: position numbers from the goal's first token to the sub-task's; ``max_goal`` if not given. A
            model whose goals became longer keeps the number that it was trained with: later tokens of a goal then
            have the numbers of words too, from which their kind tells them apart.
        max_subtask: tokens of a sub-task sentence, the end included.
        block_size: tokens of a block in block-diffusion decoding.
        key_dim: width of the pointer's queries and keys.
        horizons: actions in a chunk by action space.
        observe_position: where the tool is out of the camera's way (m): motions begin and end there.
        max_prefix: largest number of first actions that may be given clean (training-time chunk joining).
        expert_dim: width of the action expert.
        expert_layers: its layers; each reads the cache of one of the decoder's last layers.
        expert_heads: its attention heads (of the decoder's head size).
        ee_waypoints: ``ee`` actions are mixtures of poses that are given (``ee_waypoints``)
            with a small rest; without it each is learned as an offset from the tool.
        image_channels: latent channels of the sub-goal picture's autoencoder.
        image_head_dim: width of the per-token diffusion head.
        image_head_blocks: its residual blocks.
        image_target: ``flow`` or ``v``: what the image head predicts.
        image_codes: entries of the soft codebook that embeds image tokens; 0 embeds them by a linear map.
        image_tau: its temperature; towards 0 it is hard vector quantisation.
        use_subtasks: it learns sub-tasks; without them it learns to act from the goal alone, the published baseline
            ``vanilla``.
        trained_stages: stages that were trained to their end, so that a checkpoint can say what it cannot do.
        lora_rank: rank of the LoRA adapters in all linear layers of the decoder; 0 has none. Where there are some, they
            alone are trained of the decoder, and the vision tower and its projector are frozen.
        backbone_dtype: ``float32`` or ``bfloat16``: of the decoder, the vision tower and the projector; adapters,
            stem and heads are float32.

    Raises:
        UserError: sizes do not go together.
    """

    model_type = "lohovla"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 - as transformers declares it  # type: ignore

    def __init__(
        self,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        vision_config: PretrainedConfig | dict[str, Any] | None = None,
        detector: bool = True,
        features: dict[str, Any] | None = None,
        normalization: str = "mean_std",
        relative_actions: dict[str, str] | None = None,
        rotation_actions: list[list[str]] | None = None,
        chunk_size: int = 16,
        camera_tokens: int = 2,
        camera_width: int = 48,
        keypoint_maps: int = 16,
        keyframes: bool = True,
        picture_size: tuple[int, int] = (160, 320),
        stem_width: int = 48,
        stem_dim: int = 128,
        stem_blocks: tuple[int, int] = (1, 4),
        num_object_tokens: int = 24,
        workspace_xy: tuple[tuple[float, float], tuple[float, float]] = ((0.25, 0.75), (-0.5, 0.5)),
        state_dim: int = 13,
        max_goal: int = 40,
        goal_positions: int | None = None,
        max_subtask: int = 20,
        block_size: int = 10,
        key_dim: int = 64,
        horizons: dict[str, int] | None = None,
        observe_position: tuple[float, float, float] = (0.4921, 0.1333, 0.3581),
        max_prefix: int = 6,
        expert_dim: int = 128,
        expert_layers: int = 3,
        expert_heads: int = 4,
        ee_waypoints: bool = True,
        image_channels: int = 24,
        image_head_dim: int = 128,
        image_head_blocks: int = 3,
        image_target: str = "flow",
        image_codes: int = 0,
        image_tau: float = 1.0,
        use_subtasks: bool = True,
        trained_stages: list[str] | None = None,
        lora_rank: int = 0,
        backbone_dtype: str = "float32",
        **kwargs: Any,
    ):
        for old in sorted(MODEL_SETTINGS.keys() & kwargs.keys()):
            new = MODEL_SETTINGS[old]
            raise UserError(f"the model's setting {old} is called {new} now", f"write {new}=...")
        self.text_config = _config_of(text_config or {"model_type": "qwen3", **NANO_DECODER})
        self.vision_config = _config_of(vision_config) if vision_config else None
        self.detector, self.features, self.normalization = detector, features, normalization
        self.relative_actions = dict(relative_actions or {})
        self.rotation_actions = [list(triple) for triple in rotation_actions or ()]
        self.chunk_size, self.keyframes = chunk_size, keyframes
        self.camera_tokens, self.camera_width, self.keypoint_maps = camera_tokens, camera_width, keypoint_maps
        self.picture_size, self.workspace_xy = tuple(picture_size), tuple(tuple(limits) for limits in workspace_xy)
        self.stem_width, self.stem_dim, self.stem_blocks = stem_width, stem_dim, tuple(stem_blocks)
        self.num_object_tokens = num_object_tokens
        self.state_dim = len(features["state_names"]) if features else state_dim
        self.max_goal, self.max_subtask, self.block_size = max_goal, max_subtask, block_size
        self.goal_positions = max_goal if goal_positions is None else goal_positions
        self.key_dim, self.max_prefix = key_dim, max_prefix
        self.observe_position = tuple(observe_position)
        self.horizons = horizons or {"ee": 16, "pick_place": 1}
        self.expert_dim, self.expert_layers, self.expert_heads = expert_dim, expert_layers, expert_heads
        self.ee_waypoints = ee_waypoints
        self.image_channels = image_channels
        self.image_head_dim, self.image_head_blocks = image_head_dim, image_head_blocks
        self.image_target, self.image_codes, self.image_tau = image_target, image_codes, image_tau
        self.use_subtasks, self.trained_stages = use_subtasks, list(trained_stages or ())
        self.lora_rank, self.backbone_dtype = lora_rank, backbone_dtype
        self._check()
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> LoHoVLAConfig:
        """As in transformers; a checkpoint from before settings and stages were renamed may have the old names."""
        renamed = {MODEL_SETTINGS.get(name, name): value for name, value in config_dict.items()}
        if stages := renamed.get("trained_stages"):
            renamed["trained_stages"] = sorted(map(new_stage, stages))
        return super().from_dict(renamed, **kwargs)

    def _check(self) -> None:
        text: Any = self.text_config
        groups = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        if self.expert_heads % groups:
            raise UserError(
                f"expert_heads is {self.expert_heads}, no multiple of the decoder's {groups} key and value heads",
                f"choose {groups} or a multiple of it",
            )
        if not 1 <= self.expert_layers <= text.num_hidden_layers:
            raise UserError(
                f"expert_layers is {self.expert_layers}, the decoder has {text.num_hidden_layers} layers",
                "choose as many or fewer: each layer of the expert reads one of the decoder's",
            )
        if self.max_subtask % self.block_size:
            raise UserError(
                f"max_subtask is {self.max_subtask}, no multiple of block_size {self.block_size}",
                "choose a multiple of block_size",
            )
        if not self.detector and self.features is None:
            raise UserError(
                "a model with detector=false needs features", "`lohovla train dataset=...` takes them from the data set"
            )
        if self.normalization not in NORMALIZATIONS:
            raise UserError(f"normalization cannot be {self.normalization!r}", f"choose {', '.join(NORMALIZATIONS)}")
        if self.max_prefix >= self.chunk_size:
            raise UserError(
                f"max_prefix={self.max_prefix} does not go with chunk_size={self.chunk_size}: it has to be below it",
                f"recipe.model.max_prefix={max(self.chunk_size - 1, 0)}, or a larger recipe.model.chunk_size",
            )
        if self.backbone_dtype not in PRECISIONS:
            raise UserError(f"backbone_dtype cannot be {self.backbone_dtype!r}", f"choose {' or '.join(PRECISIONS)}")

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras that the camera encoder reads."""
        return [camera["name"] for camera in (self.features or {}).get("cameras", ())]

    @property
    def action_dim(self) -> int:
        """Numbers that are learned of an action of the data set; 0 where there is none."""
        return len((self.features or {}).get("action_names", ())) + 3 * len(self.rotation_actions)

    @property
    def patches(self) -> int:
        """Patches of the vision tower, of all cameras, which are tokens of the prefix; 0 where there is none."""
        vision: Any = self.vision_config
        one = (vision.image_size // vision.patch_size) ** 2 if vision is not None else 0
        return one * max(1, len(self.cameras))

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the stem's map: an eighth of the picture."""
        return self.picture_size[0] // 8, self.picture_size[1] // 8

    @property
    def cell_size(self) -> tuple[float, float]:
        """Edge of a cell along x and y, m."""
        (x0, x1), (y0, y1) = self.workspace_xy
        return (x1 - x0) / self.cells[0], (y1 - y0) / self.cells[1]


def _config_of(given: PretrainedConfig | dict[str, Any]) -> PretrainedConfig:
    if isinstance(given, PretrainedConfig):
        return given
    settings = dict(given)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


NANO_DECODER: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 48,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}

AutoConfig.register("lohovla", LoHoVLAConfig)
