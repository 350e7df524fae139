"""One table that compares all jobs of a Hydra multirun."""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import get_console

from detbox.ranks import rank
from detbox.tracking.seeds import grouped, print_seeds, write_seeds
from detbox.tracking.table import Row, print_table, write_csv

RESULT = "result.json"


class ComparisonTable(Callback):
    """Print and write, as `sweep.csv`, what every job was told and what it returned.

    Jobs that differ only in seed or fold are also one row of a second table, `sweep_seeds.csv`.
    Each job leaves a `result.json` in its folder, so the tables hold whatever launcher ran the
    jobs, and also those that failed.

    Args:
        best: the metric whose highest value is marked, where no `objective` is set.
        shown: metrics of the printed table, where any of them was returned; the file has all.
    """

    def __init__(
        self,
        best: str = "AP",
        shown: Sequence[str] = ("AP", "AP50", "AP75", "AP50_nms"),
    ) -> None:
        self.best = best
        self.shown = tuple(shown)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make sure of the table: Hydra skips `on_multirun_end` when a job fails."""
        self._folder = Path(str(config.hydra.sweep.dir)).absolute()
        self.best = str(config.get("objective") or self.best)
        self.shown = tuple(dict.fromkeys([self.best, *self.shown]))
        atexit.register(self._report)
        if "submitit" in str(config.hydra.launcher._target_):
            place = self._folder / ".submitit"
            get_console().print(
                f"jobs are with submitit, their output in {place}", markup=False, soft_wrap=True
            )

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Leave the job's result in its folder; runs where the job ran."""
        hydra = HydraConfig.get()
        if hydra.mode is None or hydra.mode.name != "MULTIRUN" or rank():
            return
        result = {
            "job": int(hydra.job.num),
            "overrides": dict(text.partition("=")[::2] for text in job_return.overrides or ()),
            **_outcome(job_return),
        }
        path = Path(hydra.runtime.output_dir) / RESULT
        path.write_text(json.dumps(result, indent=2), encoding="utf-8")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report once all jobs are done."""
        atexit.unregister(self._report)
        self._report()

    def _report(self) -> None:
        files = self._folder.rglob(RESULT)
        results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        rows = [Row(**result) for result in sorted(results, key=lambda result: result["job"])]
        if not rows:
            return
        write_csv(rows, self._folder / "sweep.csv")
        print_table(rows, self.best, self.shown)
        if groups := grouped(rows):
            write_seeds(groups, self._folder / "sweep_seeds.csv")
            print_seeds(groups, self.best, self.shown)


def _outcome(job_return: JobReturn) -> dict[str, Any]:
    """`metrics` of a job that ended well, `error` in one line of one that did not."""
    # The public property raises what the job raised.
    value = job_return._return_value
    if job_return.status is not JobStatus.COMPLETED:
        first = (str(value).strip().splitlines() or [""])[0]
        return {"metrics": {}, "error": f"{type(value).__name__}: {first}"}
    if isinstance(value, Mapping):
        return {"metrics": {name: float(figure) for name, figure in value.items()}, "error": ""}
    return {"metrics": {} if value is None else {"result": float(value)}, "error": ""}
