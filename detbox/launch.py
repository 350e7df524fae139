"""Run a command under Hydra; what a person can mend ends it with one message."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from detbox.commands.arguments import readable
from detbox.commands.grammar import check_grammar, flags_first, with_multirun
from detbox.commands.overrides import typed
from detbox.commands.resuming import going_on_in
from detbox.commands.table import COMMANDS, bound, takes_data_of_ckpt, works_in_place
from detbox.console.lines import quiet
from detbox.console.record import recorded
from detbox.crashes import memory_watched, others_watched
from detbox.errors import DetboxError, SettingError
from detbox.explain import explain
from detbox.messages import printable
from detbox.outranking import outranked
from detbox.plugins import SETTING, load_plugins, load_stored, named_in
from detbox.ranks import layout, rank
from detbox.requeueing import check_launcher, requeued
from detbox.run_folder import MULTIRUN, check_given, going_on, held, tidied
from detbox.runfile import RunCheckpoint
from detbox.stopping import REQUESTS, Stopped

CONF = "pkg://detbox.conf"
OF_SWEEP = (
    "the job that ran is saved; several at a time are cut off behind their last save; "
    "resume=auto hydra.sweep.dir=FOLDER, typed from the first start on, go on with all of them"
)
"""where the work of a sweep stands"""


def prepare(name: str | None) -> None:
    """Load the plug-ins, and end the program where neither they nor detbox have the command."""
    try:
        load_plugins(named_in(sys.argv[1:]))
        if name is not None:
            COMMANDS.builder(name)
    except DetboxError as error:
        stop(str(error))


def launch(name: str) -> None:
    """Compose the configuration of a command from `sys.argv`, and run it; in a multirun per job.

    Args:
        name: of a registered command.
    """
    # Hydra would print and exit by itself; with this it raises, and the message is ours.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    quiet()
    try:
        with REQUESTS.heard():
            _compose_and_run(name)
    except Stopped as stopped:
        if stopped.is_first:
            sweeps = not MULTIRUN.isdisjoint(sys.argv)
            print(Stopped(stopped.number, OF_SWEEP) if sweeps else stopped, file=sys.stderr)
        sys.exit(stopped.code)


def _compose_and_run(name: str) -> None:
    try:
        sys.argv[1:] = readable(name, with_multirun(name, sys.argv[1:]))
        check_grammar(sys.argv[1:])
        sweeps = not MULTIRUN.isdisjoint(sys.argv)
        sys.argv[1:] += going_on(name, typed(sys.argv[1:]), sweeps)
        if sweeps:
            check_launcher(typed(sys.argv[1:]))
        check_given(name, typed(sys.argv[1:]))
        if takes_data_of_ckpt(name):
            sys.argv[1:] = _with_data_of_checkpoint(sys.argv[1:])
        sys.argv[1:] = flags_first(outranked(sys.argv[1:]))
        run = hydra.main(version_base="1.3", config_path=CONF, config_name=name)(_job(name))
        if works_in_place(name):
            run()
            return
        with tidied(sys.argv[1:]) as sys.argv[1:]:
            run()
    except (HydraException, OmegaConfBaseException) as error:
        stop(explain(error, sys.argv[1:], name))
    except DetboxError as error:
        stop(str(error))


def stop(message: str, code: int = 1) -> NoReturn:
    """End the program with one line."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def _job(name: str) -> Callable[[DictConfig], Any]:
    def job(cfg: DictConfig) -> Any:
        quiet()  # again: a launcher may have started this process
        load_plugins(cfg.get(SETTING) or ())
        with requeued(), _one_message():
            if "trainer" in cfg:
                _refuse_nested_launch(cfg.trainer)
            _refuse_torchrun(name, "trainer" in cfg)
            if _is_multirun():
                cfg = going_on_in(_folder(), cfg)
            with held(_folder()), _recorded(name), _watched():
                return bound(name, cfg)(_folder())

    return job


@contextmanager
def _one_message() -> Iterator[None]:
    """End the program with one line where a person can mend what went wrong.

    A job of a multirun raises instead: the sweep goes on and its table shows the line.
    """
    try:
        yield
    except DetboxError as error:
        if _is_multirun():
            raise
        stop(str(error))


@contextmanager
def _watched() -> Iterator[None]:
    """Within the record, which then has what they make of an error."""
    with memory_watched(_folder()), others_watched(_folder()):
        yield


def _recorded(name: str) -> AbstractContextManager[None]:
    """Keep what a command prints, where it has a folder."""
    if works_in_place(name):
        return nullcontext()
    told = shlex.join(HydraConfig.get().overrides.task)
    heading = f"{datetime.now():%Y-%m-%d %H:%M:%S}  detbox {name} {told}".rstrip()
    return recorded(_folder(), None if rank() else heading)


def _is_multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _folder() -> Path:
    """Of this run, absolute."""
    return Path(HydraConfig.get().runtime.output_dir)


def _with_data_of_checkpoint(arguments: Sequence[str]) -> list[str]:
    """Choose the data set that the checkpoint was trained on, unless one is given."""
    given = typed(arguments)
    if not given.get("ckpt") or not {"data", "experiment"}.isdisjoint(given):
        return list(arguments)
    config = RunCheckpoint.read(str(given["ckpt"])).config
    load_stored(config.get(SETTING) or ())
    return [f"data={config['data']['name']}", *arguments]


def _refuse_nested_launch(trainer: DictConfig) -> None:
    """In a multirun Lightning's child processes would each start the whole sweep again."""
    by_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
    if not _is_multirun() or (by_slurm and int(os.environ.get("SLURM_NTASKS", 1)) > 1):
        return
    import torch

    chosen = str(trainer.devices)
    on_cpu = trainer.accelerator in ("cpu", "mps") or not torch.cuda.is_available()
    every = 1 if on_cpu else torch.cuda.device_count()
    count = every if chosen in ("auto", "-1") else int(chosen) if chosen.isdigit() else 2
    if count > 1:
        raise SettingError(
            f"a multirun trains one job at a time on one device, got trainer.devices={chosen} "
            f"({count} devices); add trainer.devices=1, start each job as a run of its own, or by "
            f"launcher=slurm with hydra.launcher.tasks_per_node={count}"
        )


def _refuse_torchrun(name: str, trains: bool) -> None:
    """Processes that share no work would each do all of it, into the same files."""
    if layout() in (None, (1, 1)) or (trains and not _is_multirun()):
        return
    what = "a multirun" if _is_multirun() else name
    raise SettingError(f"{what} works in one process, got several; start it without torchrun")
