"""Matchers: which prediction answers for which target. Importing registers them."""

from detbox.matchers import hungarian, min_sum, mixed, sinkhorn, stable

__all__ = ["hungarian", "min_sum", "mixed", "sinkhorn", "stable"]
