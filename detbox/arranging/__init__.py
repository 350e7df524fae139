"""What is made of the splits that a folder gives: one file for each way to arrange them.

Each wraps what reads a split, and gives it back as it is where its setting is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from detbox.annotations.split import Split

Read: TypeAlias = Callable[[str], Split | None]
"""`train` | `val` -> that split; None: there is none"""
