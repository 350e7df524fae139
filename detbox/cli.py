"""The command line: Hydra composes, a task runs, and errors meant for people are one message."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from detbox import tasks
from detbox.console.lines import quiet
from detbox.errors import DetboxError, MachineError, SettingError
from detbox.explain import explain
from detbox.plugins import SETTING, load_plugins, load_stored, named_in
from detbox.runfile import RunCheckpoint

CONF = "pkg://detbox.conf"


def train() -> None:
    """`python tools/train.py model=dino backbone=swin_l`."""
    _run(_train, "train")


def evaluate() -> None:
    """`python tools/evaluate.py ckpt=FILE data=coco data.root=FOLDER`."""
    _run(_evaluate, "evaluate")


def predict() -> None:
    """`python tools/predict.py ckpt=FILE source=FILE|FOLDER|GLOB`."""
    _run(_predict, "predict")


def convert_checkpoint() -> None:
    """`python tools/convert_checkpoint.py source=FILE model=dino backbone=resnet50`."""
    _run(_convert_checkpoint, "convert_checkpoint")


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _train(cfg: DictConfig) -> dict[str, float]:
    with _one_message():
        _refuse_nested_launch(cfg.trainer)
        return tasks.train(cfg, _folder())


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def _evaluate(cfg: DictConfig) -> dict[str, float]:
    overrides = HydraConfig.get().overrides.task
    with _one_message():
        return tasks.evaluate(cfg, _folder(), list(_typed(overrides)))


@hydra.main(version_base="1.3", config_path=CONF, config_name="predict")
def _predict(cfg: DictConfig) -> None:
    with _one_message():
        tasks.predict(cfg, _folder())


@hydra.main(version_base="1.3", config_path=CONF, config_name="convert_checkpoint")
def _convert_checkpoint(cfg: DictConfig) -> None:
    with _one_message():
        tasks.convert_checkpoint(cfg)


def _run(command: Callable[[], Any], name: str) -> None:
    """Run a Hydra command; what a person can mend ends it with one message and no traceback."""
    # Hydra would print and exit by itself; with this it raises, and the message is ours.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if "--version" in sys.argv[1:]:
        print(f"detbox {version('detbox')}")
        return
    quiet()
    try:
        load_plugins(named_in(sys.argv[1:]))
        if name == "evaluate":
            sys.argv = _with_data_of_checkpoint(sys.argv)
        command()
    except (HydraException, OmegaConfBaseException) as error:
        _stop(explain(error, sys.argv[1:], name))
    except DetboxError as error:
        _stop(str(error))


@contextmanager
def _one_message() -> Iterator[None]:
    """End the program with one line where a person can mend what went wrong.

    A job of a multirun raises instead: the sweep goes on and its table shows the line.
    """
    try:
        with _memory_watched():
            yield
    except DetboxError as error:
        if _is_multirun():
            raise
        _stop(str(error))


@contextmanager
def _memory_watched() -> Iterator[None]:
    """Say what to do when memory runs out, and keep the traceback in the run folder.

    Raises:
        MachineError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        trace = _folder() / "out_of_memory.txt"
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text(traceback.format_exc(), encoding="utf-8")
        told = str(error).splitlines() or ["host memory"]
        raise MachineError(
            f"out of memory ({told[0]}); try a smaller "
            "data.batch_size, trainer.precision=bf16-mixed or backbone.checkpointing=true; "
            f"the traceback is in {trace}"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it, the host Python's own or an allocator's text, MPS a text."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, kinds) or any(text in str(error) for text in texts)


def _stop(message: str, code: int = 1) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _is_multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _folder() -> Path:
    """Of this run, absolute."""
    return Path(HydraConfig.get().runtime.output_dir)


def _with_data_of_checkpoint(arguments: list[str]) -> list[str]:
    """Choose the data set that the checkpoint was trained on, unless one is given."""
    given = _typed(arguments[1:])
    if "data" in given or not given.get("ckpt"):
        return arguments
    config = RunCheckpoint.read(str(given["ckpt"])).config
    load_stored(config.get(SETTING) or ())
    name = config["data"]["name"]
    return [arguments[0], f"data={name}", *arguments[1:]]


def _typed(arguments: Sequence[str]) -> dict[str, Any]:
    """Keys and values of the overrides among a command line's arguments, as Hydra reads them."""
    found: dict[str, Any] = {}
    for argument in arguments:
        with suppress(HydraException):  # flags, and what Hydra itself will refuse
            override = OverridesParser.create().parse_override(argument)
            found[override.key_or_group] = override.value()
    return found


def _refuse_nested_launch(trainer: DictConfig) -> None:
    """In a multirun Lightning's child processes would each start the whole sweep again."""
    if not _is_multirun():
        return
    chosen = str(trainer.devices)
    on_cpu = trainer.accelerator in ("cpu", "mps") or not torch.cuda.is_available()
    every = 1 if on_cpu else torch.cuda.device_count()
    count = every if chosen in ("auto", "-1") else int(chosen) if chosen.isdigit() else 2
    if count > 1:
        raise SettingError(
            f"a multirun trains one job at a time on one device, got trainer.devices={chosen} "
            f"({count} devices); add trainer.devices=1, or start each job as a run of its own"
        )
