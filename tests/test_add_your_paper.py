"""README's walk-through: a new variant is one recipe and one YAML, and trains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from scenes import CLASSES, random_targets

import detbox
from detbox.registry import MODELS
from detbox.structures import ImageBatch

README = Path(__file__).parents[1] / "README.md"
NAME = "dn_conditional_detr"
SMALL = (
    "backbone=resnet10t",
    "backbone.pretrained=false",
    "neck.hidden_dim=32",
    "model.num_queries=8",
    "model.layers=2",
    "model.num_heads=4",
    "model.denoising_groups=3",
)


def block(language: str) -> str:
    """The fenced block of README that writes the new variant in this language."""
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (wanted,) = (each for each in found if NAME in each)
    return wanted


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A configuration folder with the YAML; the recipe is registered."""
    monkeypatch.setattr(MODELS, "_parts", dict(MODELS._parts))
    exec(compile(block("python"), str(README), "exec"), {"__name__": NAME})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / f"{NAME}.yaml").write_text(block("yaml"))
    yield tmp_path
    ConfigStore.instance().repo["schema"]["model"].pop(f"{NAME}.yaml")


def test_the_new_paper_composes_and_gives_every_parameter_a_gradient(written: Path) -> None:
    cfg = detbox.compose(f"hydra.searchpath=[file://{written}]", f"model={NAME}", *SMALL)
    detector, criterion = detbox.build_detector(cfg, CLASSES), detbox.build_criterion(cfg)
    targets = random_targets(3, 1)
    images = ImageBatch(torch.randn(2, 3, 64, 96), torch.zeros(2, 64, 96, dtype=torch.bool))
    terms = criterion(detector(images, targets), targets)
    assert any("denoise" in name for name in terms)
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, each in detector.named_parameters() if each.grad is None]
    assert not missing
