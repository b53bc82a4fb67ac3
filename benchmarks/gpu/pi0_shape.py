"""The sizes of pi0 (Black et al., 2410.24164), and what one fused decision of that shape launches on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, field

from lohovla.kernels.runtime import Cost


@dataclass(frozen=True)
class Pi0Shape:
    """Sizes of the model; the defaults are pi0's."""

    views: int = 2
    words: int = 48
    width: int = 2048
    inner: int = 16384
    layers: int = 18
    heads: int = 8
    kv: int = 1
    head: int = 256
    expert_width: int = 1024
    expert_inner: int = 4096
    chunk: int = 50
    actions: int = 32
    steps: int = 10
    vision: dict[str, int] = field(
        default_factory=lambda: {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
        }
    )

    @property
    def prefix(self) -> int:
        """Tokens of the prefix."""
        return self.views * (self.vision["image_size"] // self.vision["patch_size"]) ** 2 + self.words


TOY = Pi0Shape(
    words=5,
    width=32,
    inner=48,
    layers=2,
    heads=4,
    kv=1,
    head=16,
    expert_width=24,
    expert_inner=40,
    chunk=6,
    actions=7,
    steps=3,
    vision={
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
)


def launches(shape: Pi0Shape) -> dict[str, list[tuple[int, Cost]]]:
    """What the fused decision launches, by part: how often, and what each launch moves and computes."""

    def product(rows: int, k: int, n: int) -> Cost:
        return Cost(2.0 * (rows * k + n * k + rows * n), 2.0 * rows * n * k)

    def passing(rows: int, width: int) -> Cost:
        return Cost(4.0 * rows * width, 0.0)

    def seen(rows: int, columns: int, heads: int, kv: int, size: int) -> Cost:
        return Cost(2.0 * size * (2 * rows * heads + 2 * columns * kv), 4.0 * rows * columns * heads * size)

    def layer(rows: int, columns: int, width: int, inner: int) -> list[tuple[int, Cost]]:
        wide = shape.heads * shape.head
        return [
            (1, product(rows, width, wide + 2 * shape.kv * shape.head)),
            (1, seen(rows, columns, shape.heads, shape.kv, shape.head)),
            (1, product(rows, wide, width)),
            (1, product(rows, width, 2 * inner)),
            (1, product(rows, inner, width)),
        ]

    v = shape.vision
    patches, width, heads = shape.prefix - shape.words, v["hidden_size"], v["num_attention_heads"]
    tower = [
        (4, product(patches, width, width)),
        (2, passing(patches, width)),
        (2, passing(patches, width)),
        (shape.views, seen(patches // shape.views, patches // shape.views, heads, heads, width // heads)),
        (1, product(patches, width, v["intermediate_size"])),
        (1, passing(patches, v["intermediate_size"])),
        (1, product(patches, v["intermediate_size"], width)),
    ]
    prefix, rows, expert = shape.prefix, shape.chunk + 1, shape.expert_width
    step = [(3, passing(rows, expert)), (1, product(rows, expert, expert)), (2, product(rows, expert, shape.actions))]
    acting = layer(rows, prefix + rows, expert, shape.expert_inner)
    return {
        "vision": [
            *((n * v["num_hidden_layers"], cost) for n, cost in tower),
            (1, product(patches, width, shape.width)),
        ],
        "prefix": [(n * (shape.layers - 1), cost) for n, cost in layer(prefix, prefix, shape.width, shape.inner)]
        + [(1, product(prefix, shape.width, 2 * shape.kv * shape.head))],
        "chunk": [(n * shape.steps * shape.layers, cost) for n, cost in acting]
        + [(n * shape.steps, cost) for n, cost in step],
    }
