"""Bash completes commands and their settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKING = """
eval "$(detbox -sc install=bash)"
for COMP_LINE in "detbox pre" "detbox train model=di"; do
    COMP_POINT=${#COMP_LINE}; COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _detbox
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.slow
def test_bash_completes_commands_and_their_settings() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = subprocess.run(
        ["bash", "-c", ASKING],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    commands, models = asked.stdout.splitlines()
    assert commands == "predict"
    assert models == "model=dino model=dino_5scale model=dino_detrex model=dino_small"
