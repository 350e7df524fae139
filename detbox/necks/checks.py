"""Checks and hints that several necks share."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from detbox.errors import SettingError
from detbox.messages import listed

GROUPS = 32
"""of the group norms"""

logger = logging.getLogger("detbox")


def check_groups(hidden_dim: int, way_out: str = "") -> None:
    """Refuse a width that does not divide into the groups of a norm.

    Args:
        hidden_dim: C.
        way_out: another remedy, for the message.

    Raises:
        ValueError: it does not.
    """
    if hidden_dim < 1 or hidden_dim % GROUPS:
        raise SettingError(
            f"neck.hidden_dim={hidden_dim} must be a multiple of {GROUPS} (group norm); "
            f"try neck.hidden_dim={max(1, round(hidden_dim / GROUPS)) * GROUPS}{way_out}"
        )


def check_quarters(hidden_dim: int) -> None:
    """Refuse a width that sine and cosine of row and column cannot share.

    Raises:
        ValueError: it is no multiple of 4.
    """
    if hidden_dim < 4 or hidden_dim % 4:
        raise SettingError(
            f"neck.hidden_dim={hidden_dim} must be a multiple of 4 (sine and cosine of row and "
            f"column); try neck.hidden_dim={max(1, round(hidden_dim / 4)) * 4}"
        )


def check_levels(num_levels: int, strides: Sequence[int]) -> None:
    """Refuse fewer levels than maps.

    Raises:
        ValueError: there are fewer, or no map.
    """
    if not strides or num_levels < len(strides):
        fewer = f" or backbone.strides={listed(strides[-num_levels:])}" if num_levels > 0 else ""
        raise SettingError(
            f"neck.num_levels={num_levels} is less than the {len(strides)} backbone maps; "
            f"try neck.num_levels={max(1, len(strides))}{fewer}"
        )


def hint_at_pyramid(neck: str, strides: Sequence[int], num_levels: int) -> None:
    """Say that a neck finds nothing finer than the one map of its backbone."""
    if len(strides) == 1:
        coarser = f"{num_levels - 1} coarser levels" if num_levels > 1 else "no other level"
        logger.warning(
            "neck=%s makes %s from the one map of stride %d; neck=simple_feature_pyramid makes "
            "finer ones too",
            neck,
            coarser,
            strides[0],
        )
