"""Packages of other people: found, imported first, remembered, and never chosen by a file."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from coco_files import box, image, write_files
from tiny import TOOLS, TRAINER, column, environment

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


EPOCH = ("trainer.max_epochs=1", "data.batch_size=1")
OF_ONE_FILE = (
    ("example_export", "ckpt={run}", "model.safetensors"),
    ("example_report", "run={run}", "report.html"),
    ("example_check", "data.root={root}", "check.txt"),
)
"""command, what it is given, what it leaves"""


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
    refused = _tool(python, *train, _weights(tmp_path / "16.pth", side=16), folder=tmp_path)
    assert refused.returncode == 1
    assert "16.pth is of another model than Patches" in refused.stderr
    done = _tool(python, *train, _weights(tmp_path / "17.pth", side=17), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backbone Patches: 2 of 2 tensors from" in done.stdout + done.stderr
    assert (run / "counted.txt").read_text().startswith("1 steps")
    config = RunCheckpoint.read(run, ("last.ckpt",)).config
    assert config["plugins"] == ["detbox_example"]
    again = _tool(python, "evaluate", f"ckpt={run}", f"hydra.run.dir={run}/again", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    _convert_there_and_back(python, run, tmp_path)
    typo = _tool(python, "train", "model=example_det", folder=tmp_path)
    assert "did you mean 'example_detr'" in typo.stderr
    here = _tool(Path(sys.executable), "evaluate", f"ckpt={run}", folder=tmp_path)
    assert here.returncode == 1
    assert "plug-in 'detbox_example', which is not installed here" in here.stderr
    _one_of_each_kind(python, tmp_path)


def _one_of_each_kind(python: Path, folder: Path) -> None:
    """A format, an augmentation, a matcher, a one-to-many branch, an average; then commands."""
    root, run = _listing(folder / "listing"), folder / "average"
    data = ("data=folder", f"data.root={root}", "data.workers=0", "data.train_sizes=[64]")
    done = _tool(
        *(python, "train", *data, "data.augment=[flip,example_noise,resize]", "data.eval_size=64"),
        *("model=example_hybrid", "backbone=example_patches", "neck.hidden_dim=32"),
        *("+callbacks.ema={name: example_ema}", f"hydra.run.dir={run}", *TRAINER, *EPOCH),
        folder=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert column(run / "metrics.csv", "loss_aux/decoder1/hybrid/giou")
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert "current_model_state" in state  # the average is what is saved as the model
    done = subprocess.run(
        [python, "-m", "detbox"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    for command, setting, left in OF_ONE_FILE:
        assert f"  {command} " in done.stdout
        given = (setting.format(run=run, root=root), f"hydra.run.dir={folder}/out")
        program = [str(python), "-m", "detbox", command, *given]
        subprocess.run(program, cwd=folder, env=environment(), check=True)
        assert (folder / "out" / left).stat().st_size


def _listing(root: Path) -> Path:
    """Two small splits in the example's own format."""
    root.mkdir()
    for split in ("train", "val"):
        boxes = [box(each, each, [5, 5, 30, 30]) for each in (1, 2)]
        write_files(root, split, images=[image(1), image(2)], annotations=boxes)
        file = root / "annotations" / f"instances_{split}.json"
        file.rename(root / split / "boxes.listing")
    return root


def _convert_there_and_back(python: Path, run: Path, folder: Path) -> None:
    """Write the run's detector under the names of the package's layout, and read them again."""
    theirs, back = folder / "lab.pth", folder / "back.ckpt"
    for arguments in (
        (f"source={run}/checkpoints/best.ckpt", f"target={theirs}", "to=example_lab"),
        (f"source={theirs}", f"target={back}", *PARTS),
    ):
        done = _tool(python, "convert_checkpoint", *arguments, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "layout example_lab" in done.stdout
    names = torch.load(theirs, weights_only=True)["model"].keys()
    assert {"eyes.patches.weight", "slots.weight", "class.bias", "box.layers.2.bias"} <= names
    first, second = (RunCheckpoint.read(each).detector for each in (run, back))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def _weights(file: Path, side: int) -> str:
    """The setting for a file of the example's backbone with patches of this side."""
    torch.save(torch.nn.Conv2d(3, 32, side).state_dict(prefix="patches."), file)
    return f"backbone.weights={file}"


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
