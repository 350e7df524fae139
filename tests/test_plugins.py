"""Packages of other people: found, imported first, remembered, and never chosen by a file."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tiny import TOOLS, environment

import detbox
from detbox.errors import MissingFileError
from detbox.plugins import load_plugins, load_stored, named_in
from detbox.runfile import RunCheckpoint

PACKAGE = Path(__file__).with_name("plugin_package")
PARTS = (
    "model=example_detr",
    "backbone=example_patches",
    "data=example_shapes",
    "neck.hidden_dim=32",
    "postprocess=example_best",
    "postprocess.count=2",
    "+callbacks.count={name: example_counter, file: counted.txt}",
)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["model=dino", "plugins=[a,b.c]"], ["a", "b.c"]),
        (["plugins=a"], ["a"]),
        (["+plugins=[ 'a' ]", "--cfg", "job"], ["a"]),
        (["plugins=[]", "plugins=[a"], []),
        (["plugin=a"], []),
    ],
)
def test_plug_ins_are_read_off_the_command_line(arguments: list[str], found: list[str]) -> None:
    assert named_in(arguments) == found


def test_a_plug_in_that_is_absent_is_a_sentence() -> None:
    with pytest.raises(
        MissingFileError, match=r"'no_such.part' is not installed here.*pip install no"
    ):
        detbox.compose("plugins=[no_such.part]")


def test_a_plug_in_that_is_broken_keeps_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DETBOX_PLUGINS", "broken_plugin")
    with pytest.raises(ZeroDivisionError):
        load_plugins()


def test_a_file_cannot_choose_a_module_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_file.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingFileError, match="DETBOX_PLUGINS=beside_the_file"):
        load_stored(["beside_the_file"])


@pytest.mark.slow
def test_an_installed_package_adds_parts_of_every_kind(tmp_path: Path) -> None:
    python = _environment(tmp_path)
    run = tmp_path / "run"
    train = ("train", *PARTS, "trainer=smoke", "trainer.accelerator=cpu", f"hydra.run.dir={run}")
    done = _tool(python, *train, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run / "counted.txt").read_text().startswith("1 steps")
    config = RunCheckpoint.read(run, ("last.ckpt",)).config
    assert config["plugins"] == ["detbox_example"]
    again = _tool(python, "evaluate", f"ckpt={run}", f"hydra.run.dir={run}/again", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    typo = _tool(python, "train", "model=example_det", folder=tmp_path)
    assert "did you mean 'example_detr'" in typo.stderr
    here = _tool(Path(sys.executable), "evaluate", f"ckpt={run}", folder=tmp_path)
    assert here.returncode == 1
    assert "plug-in 'detbox_example', which is not installed here" in here.stderr


def _environment(folder: Path) -> Path:
    """A Python that has this one's packages and the example, in a folder of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", script], text=True).strip())
    ours = [sysconfig.get_path("purelib"), *(p for p in sys.path if "site-packages" in p)]
    lines = [f"import site; site.addsitedir({each!r})" for each in dict.fromkeys(ours)]
    (site / "ours.pth").write_text("\n".join(lines))
    quietly = ["-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    source = folder / "package"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    subprocess.run([python, "-m", "pip", "install", *quietly, source], check=True)
    return python


def _tool(
    python: Path, tool: str, *overrides: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, TOOLS / f"{tool}.py", *overrides],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
