"""Imports point down a floor; neighbours on a floor do not know each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "detbox"
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "messages", "figures", "foreign", "machine", "stopping", "completion"),
    ("ranges", "ranks"),
    ("plugins", "places"),
    ("outranking",),
    ("structures", "boxes", "numerics", "pickles", "registry", "misfit", "wrappers"),
    ("padding", "annotations"),
    ("arranging",),
    ("callbacks", "planning"),
    ("ops",),
    ("layers",),
    ("backbones", "necks", "matchers", "losses"),
    ("models", "normalizing", "postprocess"),
    ("criterion",),
    ("official", "transplant"),
    ("runfile",),
    ("tracking", "data", "evaluation", "console", "engine", "guards"),
    ("picturing",),
    ("build", "checking", "showing"),
    ("predictor", "explain"),
    ("conversion", "predicting"),
    ("commands",),
    ("run_folder", "usage"),
    ("crashes", "requeueing"),
    ("launch",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
PAPERS = (
    "detector",
    "query_groups",
    "heads",
    "decoder",
    "detr",
    "deformable_detr",
    "conditional_detr",
    "dab_detr",
    "dab_deformable_detr",
    "dn_detr",
    "dn_deformable_detr",
    "dino",
    "stable_dino",
)
"""of detbox/models, older first"""
ALLOWED = {
    "lightning": {
        "callbacks",
        "tracking",
        "console",
        "engine",
        "data",
        "evaluation",
        "guards",
        "build",
        "commands",
        "ranks",
    },
    "hydra": {
        "registry",
        "plugins",
        "outranking",
        "build",
        "explain",
        "commands",
        "launch",
        "tracking",
    },
    "wandb": {"tracking"},
}


def imports_of(file: Path) -> list[str]:
    """All modules that a file imports, also inside functions."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if room_of(file) != "__init__"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    room = room_of(file)
    for name in imports_of(file):
        if name.startswith("detbox."):
            other = name.split(".")[1]
            lower = other == room or FLOOR_OF[other] < FLOOR_OF[room]
            assert lower, f"{file.name} ({room}) imports {name}"


def test_newer_papers_import_older_ones() -> None:
    for file in (PACKAGE / "models").glob("*.py"):
        if file.stem == "__init__":
            continue
        for name in imports_of(file):
            if name.startswith("detbox.models."):
                other = name.split(".")[2]
                assert PAPERS.index(other) < PAPERS.index(file.stem), f"{file.stem} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_frameworks_stay_on_their_floors(file: Path) -> None:
    for name in imports_of(file):
        framework = name.split(".")[0]
        assert room_of(file) in ALLOWED.get(framework, {room_of(file)}), f"{file} imports {name}"
        if framework == "wandb":
            assert file.stem == "dashboard" or file.stem.startswith("wandb_")


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in FILES} == set(FLOOR_OF)


def test_every_room_is_in_the_wheel() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^packages = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    rooms = {f"detbox.{file.parent.name}" for file in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r'"(.*)"', listed)) == {"detbox", "detbox.conf"} | rooms


def test_no_two_test_files_have_one_name() -> None:
    """Pytest would refuse the second one; those of a package, `tests/parity`, go by its name."""
    files = [
        each for each in Path(__file__).parent.rglob("test_*.py") if "parity" not in each.parts
    ]
    names = [each.name for each in files]
    assert sorted(names) == sorted(set(names))
