"""Find the recordings of a folder by the patterns of their names."""

from __future__ import annotations

import fnmatch
from pathlib import Path

COMPACT = Path(__file__).parent / "goldens"
SHARED = Path(__file__).parents[3] / "shared" / "goldens"
STABLE = (
    SHARED / "dino" / "stable_dino.safetensors",
    SHARED / "dino" / "stable_dino.meta.json",
)
OWN = [place for place in (COMPACT, SHARED / "variants", *STABLE) if place.exists()]
"""what is replayed where no folder is named"""
KINDS: dict[str, tuple[str, ...]] = {
    "case_file": ("*.train_*.safetensors", "*.eval.safetensors"),
    "unit_file": ("unit_*.safetensors",),
    "full_file": ("full_dino_*.npz",),
    "variant_file": ("*detr*.npz",),
    "full_variant_file": ("full_*detr*.npz",),
    "stable_file": ("stable_dino.safetensors",),
    "matcher_file": ("matcher_*.npz",),
    "names_file": (
        "names_DINO_*.json",
        "names/dino_*.json",
        "names/*detr_r50.json",
        "names/*detr_r50_*refine*.json",
        "names/*_deformable_detr.json",
    ),
    "groups_file": ("names/*.param_groups.json",),
    "backbone_file": ("backbone_*.npz",),
    "backbone_names_file": (
        "names/resnet50_*",
        "names/swin_*",
        "names/convnext_*",
        "names/mpvit_*",
        "names/coat_*",
        "names/bit_*",
    ),
    "setup_file": ("optim_and_init_DINO_*.json",),
}
"""fixture of the test that answers for a file -> patterns"""
COMPANIONS = ("*.meta.json", "*.state_dict.safetensors", "timing.json", "verification.json")
"""read with another file, or about the recording itself"""
LATER: tuple[str, ...] = ("realtime/*",)
"""recordings of models that this repository does not hold yet"""
DATA = {".safetensors", ".npz", ".json"}


def recordings(folders: list[Path]) -> list[Path]:
    """All data files below the folders; a file stands for itself.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"no folder {folder}; give --goldens the path of one")
    found = {path.resolve() for folder in folders for path in (folder, *folder.rglob("*"))}
    return sorted(path for path in found if path.suffix in DATA)


def of_kind(kind: str, files: list[Path]) -> list[Path]:
    """The files that one kind of test answers for, the most special one of several."""
    special = {
        "variant_file": KINDS["full_variant_file"],
        "names_file": KINDS["groups_file"],
        "backbone_names_file": KINDS["names_file"],
    }.get(kind, ())
    return [
        path
        for path in files
        if _matches(path, KINDS[kind]) and not _matches(path, (*LATER, *special))
    ]


def of_later(path: Path) -> bool:
    """Whether a file belongs to a model that is not here yet."""
    return _matches(path, LATER)


def unclaimed(files: list[Path]) -> list[Path]:
    """Files that no test answers for."""
    known = (
        *COMPANIONS,
        *LATER,
        *(pattern for each in KINDS.values() for pattern in each),
    )
    return [path for path in files if not _matches(path, known)]


def label(path: Path) -> str:
    """How reports call a file."""
    return f"{path.parent.name}/{path.name}"


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(str(path), f"*/{pattern}")
        for pattern in patterns
    )
