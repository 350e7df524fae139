"""The folder of the emulations: unmodified sources of kernels, compiled for this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulation import toolchain


@pytest.fixture(scope="session")
def emulation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's emulations are compiled, each once."""
    if reason := toolchain.missing():
        pytest.skip(reason)
    return tmp_path_factory.mktemp("emulation")
