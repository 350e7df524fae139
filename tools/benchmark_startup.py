"""CPU time until a command answers, beside that of importing torch and torchvision alone.

python tools/benchmark_startup.py [--rounds 5] [--json FILE]

Every round starts each program once, in a fresh process, so a load on the machine meets all of
them; figures are medians over rounds, ratios are medians of the ratios within a round. Counted is
the user and system time of the process and its children, not the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

TRAIN = str(Path(__file__).with_name("train.py"))
BASE = "import torch, torchvision"
PROGRAMS: dict[str, list[str]] = {
    BASE: ["-c", BASE],
    "import detbox": ["-c", "import detbox"],
    "from detbox.structures import Targets": ["-c", "from detbox.structures import Targets"],
    "train.py --help": [TRAIN, "--help"],
    "train.py --version": [TRAIN, "--version"],
    "train.py --cfg job": [TRAIN, "--cfg", "job"],
    "train.py model=dinoo (a typo)": [TRAIN, "model=dinoo"],
}


def seconds(arguments: list[str]) -> float:
    """CPU time of one run; whether it ends well is not asked, a typo does not."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], capture_output=True, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one row per program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the seconds of every round")
    options = parser.parse_args()
    rounds = [
        {name: seconds(each) for name, each in PROGRAMS.items()} for _ in range(options.rounds)
    ]
    print(f"{'program':<40} {'CPU s':>6} {'times the import':>17}   ({options.rounds} rounds)")
    for name in PROGRAMS:
        ratio = median(each[name] / each[BASE] for each in rounds)
        print(f"{name:<40} {median(each[name] for each in rounds):>6.2f} {ratio:>17.2f}")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
