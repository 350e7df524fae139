"""Settings that all backbones have, checked, and the padding that all need."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from detbox.errors import SettingError

PRETRAINED = ("auto", "true", "false")


def check_pretrained(pretrained: str) -> str:
    """The setting `backbone.pretrained` in small letters; YAML's booleans count as words.

    Raises:
        ValueError: it is none of `PRETRAINED`.
    """
    pretrained = str(pretrained).lower()
    if pretrained not in PRETRAINED:
        raise SettingError(
            f"backbone.pretrained is one of {', '.join(PRETRAINED)}; got {pretrained!r}"
        )
    return pretrained


def check_drop_path(drop_path: float) -> None:
    """Refuse a stochastic depth rate outside [0, 1).

    Raises:
        ValueError: it is.
    """
    if not 0 <= drop_path < 1:
        raise SettingError(
            f"backbone.drop_path={drop_path} is outside [0, 1); try 0.2, or 0 for none"
        )


def enlarged(pixels: Tensor, patch: int, least: int) -> Tensor:
    """The image (B, 3, H, W) with zeros below and to the right: whole patches, a least side."""
    height, width = pixels.shape[-2:]
    bottom = max(least - height, -height % patch)
    right = max(least - width, -width % patch)
    return F.pad(pixels, (0, right, 0, bottom)) if bottom or right else pixels
