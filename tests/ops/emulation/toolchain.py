"""What compiles the emulations."""

from __future__ import annotations

import shutil
import sys


def missing() -> str | None:
    """Why no emulation can be compiled here and what mends it; None if they can."""
    if sys.platform == "linux" and shutil.which("g++"):
        return None
    return "the emulations need Linux and g++; `apt install g++`"
