"""Names of files: found in either spelling, and made so that none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_names import ODD_NAMES, ODDEST

from detbox.errors import SettingError
from detbox.places import located, unique_names


@pytest.mark.parametrize("name", [*ODD_NAMES, ODDEST])
def test_a_file_is_found_under_its_own_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert located(tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("name", ["\0", "\udc00\ud83d", "x" * 300])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(SettingError):
        located(name)


@pytest.mark.parametrize(
    "stems",
    [
        ("a", "a", "a-2", "a"),
        ("a", "A", "a"),
        ("\u00fc", "u\u0308"),
        ("x" * 251, "x" * 251, "y" * 250),
        ("猫" * 83, "猫" * 83),
        ("a=b [c]", "'", "\n", "-a"),
        ("\udce9", "\udce9"),
    ],
)
def test_made_names_are_told_apart_by_any_file_system(
    stems: tuple[str, ...], tmp_path: Path
) -> None:
    names = unique_names([Path(f"{n}", f"{stem}.png") for n, stem in enumerate(stems)], ".jpg")
    for name in names:
        (tmp_path / name).touch()
    assert len({name.casefold() for name in names}) == len(stems)
    assert len(list(tmp_path.iterdir())) == len(stems)


def test_thousands_of_equal_stems_take_no_time() -> None:
    names = unique_names([Path(str(n), "x.jpg") for n in range(20_000)], ".jpg")
    assert len(set(names)) == 20_000
