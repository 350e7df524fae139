"""What is said when the compiled libraries are absent, partial, broken or of another version."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detbox.ops import compiled, cpu

Folder = Callable[[dict[str, object]], Path]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Folder]:
    """Pretend that a folder is the installed `detbox_ops`, with these notes of its set-up."""

    def pretend(notes: dict[str, object]) -> Path:
        (tmp_path / "build.json").write_text(json.dumps(notes))
        monkeypatch.setattr(compiled, "_folder", lambda: tmp_path)
        return tmp_path

    compiled._find.cache_clear()
    yield pretend
    compiled._find.cache_clear()


def test_an_absent_distribution_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled._find.cache_clear()
    monkeypatch.setattr(compiled, "_folder", lambda: None)
    assert cpu.missing() == "detbox-ops is not installed; run pip install ./ops"
    with pytest.raises(RuntimeError, match="op=cpu cannot run: detbox-ops is not installed"):
        compiled.kernel("cpu")
    compiled._find.cache_clear()


def test_a_library_that_was_not_built_says_what_the_set_up_lacked(installed: Folder) -> None:
    installed({"cpu": {"reason": "no C++ compiler; `apt install g++`"}})
    assert cpu.missing() == (
        "detbox-ops was built without cpu (no C++ compiler; `apt install g++`); "
        "then run pip install ./ops"
    )


def test_a_file_that_is_no_library_is_named(installed: Folder) -> None:
    folder = installed({"cpu": {"file": "libdetbox_cpu.so"}})
    (folder / "libdetbox_cpu.so").write_text("not a library")
    assert "the installed detbox-ops cannot be used" in (cpu.missing() or "")


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            'extern "C" int detbox_abi() { return 7; } extern "C" void detbox_error() {}',
            "speaks version 7 of the op interface, this detbox needs 1",
        ),
        ("int other;", "detbox_error"),
    ],
)
def test_a_library_of_another_version_is_never_called(
    installed: Folder, source: str, told: str
) -> None:
    folder = installed({"cpu": {"file": "libdetbox_cpu.so"}})
    (folder / "other.cpp").write_text(source)
    command = ["g++", "-shared", "-fPIC", "other.cpp", "-o", "libdetbox_cpu.so"]
    subprocess.run(command, cwd=folder, check=True)
    reason = cpu.missing() or ""
    assert told in reason
    assert reason.endswith("run pip install ./ops")
