"""Namings: under which names a weights file may hold a backbone's tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""ends of names of tensors that are not learnt"""

Substitutions = tuple[tuple[str, str], ...]
"""patterns and what stands for them, applied one after the other as `re.sub` does"""

Names = dict[str, tuple[str, ...]]
"""our name -> names in a file, several where it repeats a tensor"""


def renamed(name: str, substitutions: Substitutions) -> str:
    """A name after all of them."""
    for pattern, replacement in substitutions:
        name = re.sub(pattern, replacement, name)
    return name


def unchanged(names: Iterable[str]) -> Names:
    """Every name for itself."""
    return {name: (name,) for name in names}
