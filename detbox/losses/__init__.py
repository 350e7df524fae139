"""Losses: (predictions, targets, matches) -> sum over the batch. Importing registers them."""

from detbox.losses import boxes, focal

__all__ = ["boxes", "focal"]
