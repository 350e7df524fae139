"""Paths are typed as a shell passes them, whatever characters their names have."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from odd_names import ODD_NAMES, ODDEST

import detbox
from detbox import cli
from detbox.build import plain
from detbox.commands.arguments import readable
from detbox.commands.overrides import typed
from detbox.commands.table import COMMANDS
from detbox.commands.train import settled
from detbox.errors import MissingFileError, SettingError, UnknownNameError
from detbox.messages import quoted
from detbox.registry import Part
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

Form = Literal["NFC", "NFD"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def composed(command: str, *arguments: str) -> Any:
    return detbox.compose(*readable(command, arguments), config_name=command)


def ran(command: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[Any]:
    """What a command that leaves a file was called with, through the whole command line."""
    seen: list[Any] = []

    def leave(cfg: Any, folder: Path) -> None:
        (folder / "left").touch()
        seen.append((cfg, folder))

    monkeypatch.setitem(COMMANDS._parts, command, Part(leave, None))
    monkeypatch.setattr("sys.argv", [f"{command}.py", *arguments])
    with suppress(SystemExit):
        cli.main(command)
    return seen


@pytest.mark.parametrize("name", [*ODD_NAMES, ODDEST])
def test_what_is_there_is_meant_as_typed(name: str, folder: Path) -> None:
    os.makedirs(name)
    for path in (name, f"{name}/.", str(folder / name)):
        given = readable("train", [f"init={path}", f"data.root={path}"])
        assert typed(given) == {"init": path, "data.root": path}


@pytest.mark.parametrize("name", [*ODD_NAMES, ODDEST])
def test_commands_run_in_folders_of_any_name(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.makedirs(name)
    space = LabelSpace(("disk",), (1,))
    RunCheckpoint({"data": {"name": "coco"}}, space, {}).write(Path(name, "best.ckpt"))
    target = "run" if "${" in name else f"{name}/run"
    given = f"ckpt={name}/best.ckpt", f"data.root={folder}/{name}", f"hydra.run.dir={target}"
    ((cfg, run),) = ran("evaluate", monkeypatch, *given)
    assert cfg.ckpt == f"{name}/best.ckpt"
    assert (cfg.data.name, cfg.data.root) == ("coco", f"{folder}/{name}")
    assert run == folder / target
    assert (run / ".hydra" / "config.yaml").is_file()


def test_where_hydra_cannot_write_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir("${e}")
    with pytest.raises(SettingError, match=r"hydra.run.dir: Hydra takes \$\{ in"):
        readable("train", ["hydra.run.dir=${e}/run"])
    monkeypatch.chdir("${e}")
    with pytest.raises(SettingError, match="the current folder: Hydra takes"):
        readable("train", [])


def test_a_run_file_keeps_its_data_under_any_name(folder: Path) -> None:
    os.mkdir(ODDEST)
    cfg = settled(composed("train", f"data={ODDEST}"))
    assert cfg.data.root == str(folder / ODDEST)
    stored = RunCheckpoint(plain(cfg), LabelSpace(("disk",), (1,)), {})
    assert stored.recipe.data.root == str(folder / ODDEST)


@pytest.mark.parametrize("name", ["a=b", "it's", "1e5", "50%,60%", "a[1]"])
def test_what_is_not_there_yet_is_taken_as_typed(name: str) -> None:
    cfg = composed("convert_checkpoint", "source=x.pth", f"target={name}")
    assert cfg.target == name


@pytest.mark.parametrize("name", ["it's", "a\\", "a\\\\", "a\\'b", "a\\\\'", "\n'", "a\\b"])
def test_what_is_quoted_is_read_back(name: str) -> None:
    assert typed([f"ckpt={quoted(name)}"]) == {"ckpt": name}


def test_what_is_quoted_already_stays(folder: Path) -> None:
    (folder / "a=b").mkdir()
    for argument in ("ckpt='a=b'", 'ckpt="a=b"', "ckpt=null", "+ckpt=plain", "model.dim=a=b", "-m"):
        assert readable("train", [argument]) == [argument]


def test_home_is_found_in_any_spelling(folder: Path) -> None:
    for text in ("~/run", "'~/run'"):
        cfg = composed("train", f"ckpt={text}")
        assert cfg.ckpt == str(folder / "home" / "run")


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_either_unicode_form_finds_the_folder(form: Form, other: Form, folder: Path) -> None:
    stored = unicodedata.normalize(other, "Bär/Küche")
    os.makedirs(stored)
    given = unicodedata.normalize(form, "Bär/Küche/neu")
    assert composed("train", f"init={given}").init == f"{stored}/neu"


def test_interpolations_of_new_folders_are_left_to_hydra() -> None:
    for folder in ("runs/${now:%Y}", "runs a=b/${now:%Y}"):
        (argument,) = readable("train", [f"hydra.run.dir={folder}"])
        assert typed([argument]) == {"hydra.run.dir": folder}


def test_sweeps_go_on_over_odd_names(folder: Path) -> None:
    for name in ("a=1", "b[2]", "c,d"):
        (folder / name).mkdir()
    swept = readable("train", ["-m", "init=a=1,b[2],~/e", "seed=0,1", "hydra.sweep.dir=~/s"])
    home = folder / "home"
    expected = f"init='a=1','b[2]',{home}/e", "seed=0,1", f"hydra.sweep.dir={home}/s"
    assert swept == ["-m", *expected]
    assert readable("train", ["-m", "init=x,y"]) == ["-m", "init=x,y"]
    assert readable("train", ["-m", "init=c,d"]) == ["-m", "init='c,d'"]


@pytest.mark.parametrize("name", [*ODD_NAMES, ODDEST])
def test_a_folder_may_stand_for_data(name: str, folder: Path) -> None:
    os.makedirs(name)
    for path in (f"./{name}", str(folder / name), name):
        given = typed(readable("train", [f"data={path}"]))
        assert given["data"] == "folder"
        assert Path(given["data.root"]) == Path(path)


def test_folders_of_data_at_home_and_in_sweeps(folder: Path) -> None:
    os.makedirs("home/x")
    os.makedirs("y=1")
    assert composed("train", "data=~/x").data.root == str(folder / "home" / "x")
    swept = readable("train", ["-m", "data=~/x,y=1"])
    assert swept == ["-m", "data=folder", f"data.root={folder}/home/x,'y=1'"]


def test_an_option_outranks_a_folder_of_its_name(folder: Path) -> None:
    (folder / "shapes").mkdir()
    assert composed("train", "data=shapes").data.name == "shapes"
    assert composed("train", "data=./shapes").data.name == "folder"


def test_neither_option_nor_folder_is_said() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'shapes'"):
        readable("train", ["data=shape"])
    with pytest.raises(MissingFileError, match="there is no folder nowhere/x; give a folder"):
        readable("train", ["data=./nowhere/x"])
    with pytest.raises(UnknownNameError, match="options or folders, got both"):
        readable("train", ["-m", "data=shapes,."])


@pytest.mark.parametrize("key", ["ckpt", "init", "data", "data.root", "hydra.run.dir"])
def test_names_that_no_file_can_have_are_refused(key: str) -> None:
    with pytest.raises(SettingError, match="5000 bytes long"):
        readable("train", [f"{key}={'x' * 5000}"])


@pytest.mark.parametrize(
    ("typed_as", "meant"),
    [
        ("[Möhre, traffic light]", ["Möhre", "traffic light"]),
        ("car", ["car"]),
        ("['a, b',007,a(b)]", ["a, b", "007", "a(b)"]),
        ("[${x},null]", ["${x}", "null"]),
    ],
)
def test_names_of_classes_are_typed_as_they_are(typed_as: str, meant: list[str]) -> None:
    given = readable("train", ["data=folder", f"data.classes={typed_as}"])
    assert plain(detbox.compose(*given))["data"]["classes"] == meant


@pytest.mark.parametrize(
    ("typed_as", "meant"),
    [
        ("{van:car,traffic light:car}", {"van": "car", "traffic light": "car"}),
        ("{Möhre: 'a, b', 0:1}", ["Möhre:a, b", "0:1"]),
    ],
)
def test_merged_classes_are_typed_as_a_mapping(typed_as: str, meant: object) -> None:
    given = readable("train", ["data=folder", f"data.merge={typed_as}"])
    assert plain(detbox.compose(*given))["data"]["merge"] == meant


def test_what_a_shell_makes_of_braces_is_one_list() -> None:
    typed = ["data=folder", "data.merge=Ü:b", "seed=1", "data.merge=c d:b", "seed=1"]
    given = readable("train", typed)
    assert plain(detbox.compose(*given))["data"]["merge"] == ["Ü:b", "c d:b"]
    assert [each for each in given if each.startswith("seed")] == ["seed=1", "seed=1"]
    last = readable("train", ["data=folder", "data.classes=[a]", "data.classes=[b]"])
    assert plain(detbox.compose(*last))["data"]["classes"] == ["b"]


@pytest.mark.parametrize("key", ["data", "data.root"])
def test_several_folders_are_a_list(key: str, folder: Path) -> None:
    names = ["a, b [x]", "grün", "${e}", "plain"]
    for name in (*names, "home/y"):
        (folder / name).mkdir(parents=True)
    given = readable("train", ["data=folder", f"{key}=['a, b [x]',grün,${{e}},plain,~/y]"])
    cfg = settled(detbox.compose(*given[-2:]))
    wanted = [str(folder / name) for name in (*names, "home/y")]
    assert plain(cfg)["data"]["root"] == wanted
    stored = RunCheckpoint(plain(cfg), LabelSpace(("disk",), (1,)), {})
    assert plain(stored.recipe)["data"]["root"] == wanted


def test_a_list_of_folders_names_the_one_that_is_not_there(folder: Path) -> None:
    (folder / "here").mkdir()
    with pytest.raises(MissingFileError, match=r"data=\./gone: there is no folder"):
        readable("train", ["data=[here,./gone]"])
