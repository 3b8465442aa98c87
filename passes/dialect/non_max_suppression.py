"""`unspool::non_max_suppression`: of boxes that overlap the one with the best score."""

from __future__ import annotations

import torch


@torch.library.custom_op(
    "unspool::non_max_suppression",
    mutates_args=(),
    schema=("(Tensor boxes, Tensor scores, Tensor most, Tensor? overlap, Tensor? threshold, bool centred) -> Tensor"),
)
def non_max_suppression(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: torch.Tensor,
    overlap: torch.Tensor | None,
    threshold: torch.Tensor | None,
    centred: bool,
) -> torch.Tensor:
    """Indices (batch, class, box) of what is kept, int64 [kept, 3], by batch, then class, then falling score.

    `boxes` is float32 [batch, boxes, 4]: two opposite corners (y, x, y, x), or with `centred` (x, y, width,
    height) around the centre. `scores` is float32 [batch, classes, boxes]. In each class of a batch the best box
    with a score above `threshold` is kept, those whose intersection over union with it is above `overlap` (0 if
    absent) are dropped, and so on until `most` are kept. Of equal scores the first box comes first.
    """
    limit = int(most.reshape(-1)[0])
    allowed = 0.0 if overlap is None else float(overlap.reshape(-1)[0])
    kept = [torch.empty((0, 3), dtype=torch.int64)]
    for batch, image in enumerate(boxes):
        corners = _corners(image, centred)
        for category, of_class in enumerate(scores[batch]):
            order = torch.argsort(of_class, descending=True, stable=True)
            if threshold is not None:
                order = order[of_class[order] > threshold.reshape(-1)[0]]
            chosen = _greedy(corners, order, allowed, limit)
            kept.append(torch.stack([torch.full_like(chosen, batch), torch.full_like(chosen, category), chosen], 1))
    return torch.cat(kept)


@non_max_suppression.register_fake
def _(boxes: torch.Tensor, *_operands: object) -> torch.Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)


def _corners(boxes: torch.Tensor, centred: bool) -> torch.Tensor:
    """Boxes [boxes, 4] as the least and the greatest coordinates, [boxes, 2, 2]."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centred:
        return torch.stack([first - second / 2, first + second / 2], 1)
    return torch.stack([torch.minimum(first, second), torch.maximum(first, second)], 1)


def _greedy(corners: torch.Tensor, order: torch.Tensor, allowed: float, limit: int) -> torch.Tensor:
    chosen: list[torch.Tensor] = []
    while order.numel() and len(chosen) < limit:
        best, order = order[0], order[1:]
        chosen.append(best)
        order = order[_overlaps(corners[best], corners[order]) <= allowed]
    return torch.stack(chosen) if chosen else torch.empty(0, dtype=torch.int64)


def _overlaps(box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union of a box [2, 2] with others [n, 2, 2]; minus infinity where there is none."""
    sides = (torch.minimum(box[1], others[:, 1]) - torch.maximum(box[0], others[:, 0])).clamp(min=0)
    shared = sides.prod(-1)
    own, theirs = (box[1] - box[0]).prod(), (others[:, 1] - others[:, 0]).prod(-1)
    union = own + theirs - shared
    counts = (shared > 0) & (own > 0) & (theirs > 0) & (union > 0)
    return torch.where(counts, shared / union, float("-inf"))
