"""From logits and boxes of the queries to the detections of each image."""

from __future__ import annotations

from torch import Tensor
from torchvision import ops

from detbox.boxes import box_scale, to_xyxy
from detbox.errors import SettingError
from detbox.numerics import at_least_float32
from detbox.ranges import Count, Share
from detbox.registry import POSTPROCESSES
from detbox.structures import Detections, PredictionSet


class Postprocess:
    """Take the best (query, class) pairs of each image (Deformable DETR, official code).

    One query may give several detections, one per class. Boxes are not clamped to the image.

    Args:
        num_select: detections per image; fewer where there are fewer pairs.
        nms_iou: threshold of a class-agnostic suppression afterwards; None: no suppression.
    """

    def __init__(self, num_select: int = 300, nms_iou: float | None = None) -> None:
        if num_select < 1:
            raise SettingError(
                f"num_select must be at least 1, got {num_select}; the paper's is 300"
            )
        self.num_select = num_select
        self.nms_iou = _share_or_none(nms_iou)

    def __call__(self, prediction: PredictionSet, sizes: Tensor) -> list[Detections]:
        """Select and scale.

        Args:
            prediction: logits (B, Q, K) and boxes (B, Q, 4).
            sizes: (B, 2) height, width of the original images in pixels.

        Returns:
            One `Detections` per image, best first, at least in float32.
        """
        num_classes = prediction.logits.shape[-1]
        pairs = at_least_float32(prediction.logits).sigmoid().flatten(1)  # (B, Q*K)
        scores, index = pairs.topk(min(self.num_select, pairs.shape[1]), dim=1)
        query, labels = index // num_classes, index % num_classes
        return detections_of(prediction, sizes, scores, query, labels, self.nms_iou)


class SoftmaxPostprocess:
    """Take each query's best class, one detection per query (DETR, official code).

    Args:
        nms_iou: threshold of a class-agnostic suppression afterwards; None: no suppression.
    """

    def __init__(self, nms_iou: float | None = None) -> None:
        self.nms_iou = _share_or_none(nms_iou)

    def __call__(self, prediction: PredictionSet, sizes: Tensor) -> list[Detections]:
        """Select and scale.

        Args:
            prediction: logits (B, Q, K + 1), the last class is no object; boxes (B, Q, 4).
            sizes: (B, 2) height, width of the original images in pixels.

        Returns:
            One `Detections` per image, best first, at least in float32.
        """
        shares = at_least_float32(prediction.logits).softmax(-1)[..., :-1]
        scores, labels = shares.max(-1)  # (B, Q)
        scores, query = scores.sort(1, descending=True)
        return detections_of(
            prediction, sizes, scores, query, labels.gather(1, query), self.nms_iou
        )


@POSTPROCESSES.register("softmax", scores="softmax")
def softmax(*, nms_iou: Share | None = None) -> SoftmaxPostprocess:
    """Every query's best class, with class-agnostic suppression if asked for."""
    return SoftmaxPostprocess(nms_iou)


@POSTPROCESSES.register("top", scores="sigmoid")
def top(*, num_select: Count = 300, nms_iou: Share | None = None) -> Postprocess:
    """The `num_select` best (query, class) pairs, with class-agnostic suppression if asked for."""
    return Postprocess(num_select, nms_iou)


def detections_of(
    prediction: PredictionSet,
    sizes: Tensor,
    scores: Tensor,
    query: Tensor,
    labels: Tensor,
    nms_iou: float | None = None,
) -> list[Detections]:
    """The boxes of chosen queries in pixels, with scores and labels, image by image.

    Args:
        prediction: boxes (B, Q, 4).
        sizes: (B, 2) height, width of the original images in pixels.
        scores: (B, N), best first.
        query: (B, N) whose box it is.
        labels: (B, N).
        nms_iou: threshold of a class-agnostic suppression; None: no suppression.
    """
    boxes = to_xyxy(at_least_float32(prediction.boxes))
    scale = box_scale(sizes.to(boxes))[:, None]  # (B, 1, 4)
    boxes_px = boxes.gather(1, query[..., None].expand(-1, -1, 4)) * scale
    found = [Detections(*image) for image in zip(boxes_px, scores, labels, strict=True)]
    return found if nms_iou is None else [suppress(image, nms_iou) for image in found]


def suppress(detections: Detections, iou: float) -> Detections:
    """Drop each detection that overlaps a better one of any class by more than `iou`."""
    keep = ops.nms(detections.boxes, detections.scores, iou)
    return select(detections, keep)


def select(detections: Detections, keep: Tensor) -> Detections:
    """The detections at an index or under a boolean mask, (M,) or (N,)."""
    boxes, scores, labels = detections.boxes, detections.scores, detections.labels
    return Detections(boxes[keep], scores[keep], labels[keep])


def _share_or_none(nms_iou: float | None) -> float | None:
    if nms_iou is not None and not 0 <= nms_iou <= 1:
        raise SettingError(f"nms_iou must lie in [0, 1], got {nms_iou}; None turns it off")
    return nms_iou
