"""From backbone maps to levels of one width; importing the package registers the necks."""

from __future__ import annotations

from detbox.necks import channel_mapper, fpn, hybrid_encoder, projection, simple_feature_pyramid

__all__ = ["channel_mapper", "fpn", "hybrid_encoder", "projection", "simple_feature_pyramid"]
