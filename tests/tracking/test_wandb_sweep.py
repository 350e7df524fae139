"""W&B's own agent starts runs from the sweep file, with settings that Hydra takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wandb import wandb_agent
from wandb.sdk.launch.sweeps.utils import load_sweep_config

from detbox import cli
from detbox.figures import SCALARS

FILE = Path(__file__).parents[2] / "tools" / "wandb_sweep.yaml"
DRAWN = {"optimizer.lr": 1.2345e-05, "model.num_queries": 30, "seed": 2}


class Started:
    """A process that the agent would start."""

    def __init__(self, command: list[str], env: dict[str, str], forward_signals: bool) -> None:
        self.command, self.env = command, env


def started_by_agent(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Started:
    """What the agent makes of an answer of the server."""
    monkeypatch.setattr(wandb_agent, "AgentProcess", Started)
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    for each in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them
        monkeypatch.setenv(each, "")
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._function, agent._in_jupyter, agent._forward_signals = None, False, False
    agent._sweep_command, agent._run_processes = config["command"], {}
    drawn = {name: {"value": value} for name, value in DRAWN.items()}
    agent._command_run({"run_id": "run1", "program": config["program"], "args": drawn})
    (started,) = agent._run_processes.values()
    assert isinstance(started, Started)
    return started


# W&B leaves the file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_command_of_the_agent_composes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    config = load_sweep_config(str(FILE))
    assert config is not None
    assert set(config["parameters"]) == set(DRAWN)
    lr = config["parameters"]["optimizer.lr"]
    assert isinstance(lr["min"], float)
    assert isinstance(lr["max"], float)
    assert config["metric"]["name"].removeprefix("val/") in SCALARS
    _, python, program, *arguments = started_by_agent(config, monkeypatch).command
    assert python == "python"
    assert (FILE.parents[1] / program).is_file()
    monkeypatch.setattr("sys.argv", [program, *arguments, "--cfg", "job"])
    cli.main("train")
    told = capsys.readouterr().out
    for line in ("lr: 1.2345e-05", "num_queries: 30", "seed: 2", "project: detbox"):
        assert line in told
