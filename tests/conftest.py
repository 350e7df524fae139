"""What every test relies on: one thread, a cache of its own, and the folder of shared data."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tests print odd names; xdist sends what they print as UTF-8, which has no lone surrogates."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Toy tensors: threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shapes_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that lasts for the session, so that shapes are drawn once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(shapes_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never touch the user's cache."""
    monkeypatch.setenv("DETBOX_CACHE", str(shapes_cache))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and recorded goldens beside the repository, where there are any."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of shared data beside the repository")
    return SHARED
