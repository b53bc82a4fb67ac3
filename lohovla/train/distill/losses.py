"""The losses of both stages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.errors import UserError


def distillation_loss(student: Tensor, teacher: Tensor, ratio: Tensor, tokens: int, kind: str = "forward") -> Tensor:
    """Divergence of student and teacher over masked tokens, each weighted by one over its block's mask ratio.

    With weights so, every block counts by its length whatever its noise: a block of ratio p has p of its tokens
    masked. (Discrete Diffusion Forcing, arXiv 2508.09192.)

    Args:
        student: (m, vocabulary) logits at the masked tokens.
        teacher: (m, vocabulary) logits there; no gradient flows into them.
        ratio: (m,) mask ratio of each one's block.
        tokens: how many answer tokens there are in all, masked or not.
        kind: ``forward`` is KL(teacher || student); ``reverse`` is KL(student || teacher).
    """
    log_student = F.log_softmax(student.float(), -1)
    log_teacher = F.log_softmax(teacher.detach().float(), -1)
    if kind == "forward":
        divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(-1)
    elif kind == "reverse":
        divergence = (log_student.exp() * (log_student - log_teacher)).sum(-1)
    else:
        raise UserError(f"there is no divergence {kind!r}", "choose forward or reverse")
    return (divergence / ratio).sum() / tokens


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of (m, vocabulary) logits against (m,) tokens."""
    return F.cross_entropy(logits.float(), targets) if len(targets) else torch.zeros((), device=logits.device)
