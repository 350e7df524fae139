"""Find the recordings of a folder by the patterns of their names."""

from __future__ import annotations

import fnmatch
from pathlib import Path

COMPACT = Path(__file__).parent / "goldens"
KINDS: dict[str, tuple[str, ...]] = {
    "case_file": ("*.train_*.safetensors", "*.eval.safetensors"),
    "unit_file": ("unit_*.safetensors",),
    "full_file": ("full_dino_*.npz",),
    "names_file": ("names_DINO_*.json", "names/dino_*.json"),
    "setup_file": ("optim_and_init_DINO_*.json",),
}
"""fixture of the test that answers for a file -> patterns"""
COMPANIONS = ("*.meta.json", "*.state_dict.safetensors", "timing.json", "verification.json")
"""read with another file, or about the recording itself"""
LATER = (
    "stable_dino*",
    "*/variants/*",
    "full_mpvit_*",
    "full_coat_*",
    "names/mpvit_*",
    "names/coat_*",
)
"""recordings of models that this repository does not hold yet"""
DATA = {".safetensors", ".npz", ".json"}


def recordings(folders: list[Path]) -> list[Path]:
    """All data files below the folders.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}; give --goldens the path of one")
    found = {path.resolve() for folder in folders for path in folder.rglob("*")}
    return sorted(path for path in found if path.suffix in DATA)


def of_kind(kind: str, files: list[Path]) -> list[Path]:
    """The files that one kind of test answers for."""
    return [path for path in files if _matches(path, KINDS[kind]) and not of_later(path)]


def of_later(path: Path) -> bool:
    """Whether a file belongs to a model that is not here yet."""
    return _matches(path, LATER)


def unclaimed(files: list[Path]) -> list[Path]:
    """Files that no test answers for."""
    known = (*COMPANIONS, *LATER, *(pattern for each in KINDS.values() for pattern in each))
    return [path for path in files if not _matches(path, known)]


def label(path: Path) -> str:
    """How reports call a file."""
    return f"{path.parent.name}/{path.name}"


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(str(path), f"*/{pattern}")
        for pattern in patterns
    )
