"""Every YAML composes, and stands for something registered."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import detbox
from detbox import build, registry
from detbox.build import check_settings
from detbox.registry import Registry

CONF = Path(__file__).parents[1] / "conf"
REGISTRIES = {each.kind: each for each in vars(registry).values() if isinstance(each, Registry)}
OPTIONS = [
    (folder.name, file.stem)
    for folder in sorted(CONF.iterdir())
    # Experiments have `test_recipes`.
    if folder.is_dir() and folder.name not in ("experiment", "hydra", "__pycache__")
    for file in sorted(folder.glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    cfg = detbox.compose(f"{group}={option}")
    if group in REGISTRIES:
        assert cfg[group].name in REGISTRIES[group].names()
    if not OmegaConf.missing_keys(cfg):
        check_settings(cfg)


@pytest.mark.parametrize(
    "kind",
    sorted(
        set(REGISTRIES) - {"class_cost", "loss", "pair_weight", "trainer", "format", "augmentation"}
    ),
)
def test_every_registered_name_has_its_yaml(kind: str) -> None:
    names = {option for group, option in OPTIONS if group == kind}
    assert {name for name in REGISTRIES[kind].names() if _is_ours(kind, name)} <= names


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_yaml_says_what_it_is_and_how_to_run_it(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if not line.startswith("# @package")][:2]
    assert all(line.startswith("# ") for line in head)
    assert "python tools/" in head[1]


def test_no_file_instantiates_by_dotted_path() -> None:
    for file in CONF.rglob("*.yaml"):
        if file.parent.parent.name != "hydra":  # Hydra's own callbacks know no other way
            assert "_target_" not in file.read_text(encoding="utf-8"), file


def test_a_composed_configuration_is_plain_data() -> None:
    plain = build.plain(detbox.compose("experiment=quickstart"))
    assert OmegaConf.create(plain).model.num_queries == 20


def _is_ours(kind: str, name: str) -> bool:
    """Other tests register parts of their own, which have no YAML."""
    builder = REGISTRIES[kind].bind({"name": name})
    assert isinstance(builder, partial)
    return builder.func.__module__.startswith("detbox.")
