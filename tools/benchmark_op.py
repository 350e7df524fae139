"""How fast each backend of deformable attention is here, and how much memory it takes.

python tools/benchmark_op.py                       the op: every backend that runs here
python tools/benchmark_op.py --detector            whole steps of DINO R50 instead
python tools/benchmark_op.py --name my_laptop      also writes ops/benchmarks/my_laptop.json, .png

Rounds are paired: in each, every backend runs once after the other, in one process. The table
gives medians of times, and medians of the rounds' ratios to pure PyTorch. Temporaries are what the
process (CUDA: torch's allocator) held at its peak beyond inputs and results; not known on a Mac.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from torch import Tensor

from detbox import ops
from detbox.build import build_criterion, build_detector, compose
from detbox.ops.examples import example
from detbox.ops.selection import KNOWN, module_of, unfit
from detbox.structures import ImageBatch, Targets

FOLDER = Path(__file__).parents[1] / "ops" / "benchmarks"
BASELINE = "pytorch"
LARGE = ((100, 167), (50, 84), (25, 42), (13, 21))
MIDDLE = ((64, 64), (32, 32), (16, 16), (8, 8))
SMALL = ((32, 32), (16, 16), (8, 8), (4, 4))
CASES = {
    "encoder, 800 x 1333": lambda: example(LARGE),
    "decoder, 900 queries": lambda: example(LARGE, 900, reference_size=4),
    "encoder, 256 x 256": lambda: example(SMALL),
    "encoder, 4 of 512 x 512": lambda: example(MIDDLE, batch=4),
}
TYPES = ("float32", "bfloat16", "float16")


@dataclass
class Result:
    """One case of one backend."""

    case: str
    dtype: str
    call: str
    backend: str
    milliseconds: float
    ratio: float
    """median over rounds: time of pure PyTorch by time of this backend"""
    temporaries_mb: float | None


def measure_op(device: str, dtype: str, rounds: int) -> list[Result]:
    """Forward, and forward with backward, of every case."""
    names = _backends(device, dtype)
    results = []
    for case, make in CASES.items():
        given = make()
        tensors = [
            each.to(device, getattr(torch, dtype)).requires_grad_()
            for each in (given.value, given.offsets, given.logits)
        ]
        references = given.references.to(device)  # type: ignore[union-attr]
        for call in ("forward", "forward+backward"):
            runs = {name: _run_of(name, call, given.shapes, references, tensors) for name in names}
            results += _compare(case, dtype, call, runs, device, rounds)
    return results


def _run_of(
    name: str,
    call: str,
    shapes: tuple[tuple[int, int], ...],
    references: Tensor,
    tensors: list[Tensor],
) -> Callable[[], object]:
    def forward() -> Tensor:
        value, offsets, logits = tensors
        return ops.ms_deform_attn_fused(value, shapes, references, offsets, logits, backend=name)

    def without_grad() -> Tensor:
        with torch.no_grad():
            return forward()

    def both() -> tuple[Tensor, ...]:
        output = forward()
        return (output, *torch.autograd.grad(output, tensors, torch.ones_like(output)))

    return without_grad if call == "forward" else both


def measure_detector(device: str, dtype: str, rounds: int) -> list[Result]:
    """A training step at 512 x 512, batch 2, and inference at 800 x 1066."""
    names = _backends(device, dtype)
    cfg = compose("model=dino", "backbone=resnet50", "backbone.pretrained=false")
    detector, criterion = build_detector(cfg, 91).to(device), build_criterion(cfg)
    small, large = (_images(device, *size) for size in ((2, 512, 512), (1, 800, 1066)))
    labels = torch.randint(91, (14,), device=device)
    targets = Targets(labels, 0.2 + 0.2 * torch.rand(14, 4, device=device), (7, 7))

    def with_op(name: str, step: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            ops.configure(name)
            with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
                return step()

        return run

    def train() -> None:
        terms = criterion(detector.train()(small, targets), targets)
        torch.stack(list(terms.values())).sum().backward()
        detector.zero_grad()

    def infer() -> None:
        with torch.no_grad():
            detector.eval()(large, None)

    results = []
    for case, step in (("training, 2 of 512 x 512", train), ("inference, 800 x 1066", infer)):
        runs = {name: with_op(name, step) for name in names}
        results += _compare(case, dtype, "DINO R50", runs, device, rounds)
    return results


def _images(device: str, batch: int, height: int, width: int) -> ImageBatch:
    pixels = torch.randn(batch, 3, height, width, device=device)
    return ImageBatch(pixels, torch.zeros(batch, height, width, dtype=torch.bool, device=device))


def _backends(device: str, dtype: str) -> list[str]:
    fitting = [name for name in KNOWN if not unfit(name, device, getattr(torch, dtype))]
    return [name for name in fitting if module_of(name).missing() is None]


def _compare(
    case: str,
    dtype: str,
    call: str,
    runs: dict[str, Callable[[], object]],
    device: str,
    rounds: int,
) -> list[Result]:
    memory = {name: _temporaries(run, device) for name, run in runs.items()}  # warms up as well
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(_milliseconds(run, device))
    return [
        Result(case, dtype, call, name, median(spent), _ratio(times, name), memory[name])
        for name, spent in times.items()
    ]


def _ratio(times: dict[str, list[float]], name: str) -> float:
    return median(base / own for base, own in zip(times[BASELINE], times[name], strict=True))


def _milliseconds(run: Callable[[], object], device: str) -> float:
    _synchronize(device)
    start = time.perf_counter()
    run()
    _synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def _synchronize(device: str) -> None:
    if device != "cpu":
        getattr(torch, device).synchronize()


def _temporaries(run: Callable[[], object], device: str) -> float | None:
    """MB at the peak beyond what was there before and what `run` returns."""
    run()
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = run()
        peak = torch.cuda.max_memory_allocated()
    elif Path("/proc/self/clear_refs").exists() and device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        before = _kilobytes("VmRSS") * 1024
        result = run()
        peak = _kilobytes("VmHWM") * 1024
    else:
        return None
    kept = result if isinstance(result, tuple) else (result,)
    size = sum(each.nbytes for each in kept if isinstance(each, Tensor))
    return max(0.0, (peak - before - size) / 1e6)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def show(results: list[Result]) -> None:
    """Print the table."""
    table = Table("case", "type", "call", "op", "ms", "x faster", "temporaries, MB")
    for each in results:
        memory = "?" if each.temporaries_mb is None else f"{each.temporaries_mb:.1f}"
        figures = f"{each.milliseconds:.2f}", f"{each.ratio:.2f}", memory
        table.add_row(each.case, each.dtype, each.call, each.backend, *figures)
    Console(width=120).print(table)


def write(results: list[Result], machine: dict[str, object], name: str) -> None:
    """Leave `name`.json and a picture of the ratios in `ops/benchmarks`."""
    FOLDER.mkdir(exist_ok=True)
    content = {"machine": machine, "results": [asdict(each) for each in results]}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(results, ", ".join(str(each) for each in machine.values())).save(FOLDER / f"{name}.png")


def draw(results: list[Result], title: str) -> Image.Image:
    """Bars of how many times faster than pure PyTorch each backend is."""
    shown = [each for each in results if each.backend != BASELINE]
    picture = Image.new("RGB", (960, 60 + 24 * len(shown)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((10, 8), title, "black")
    pen.text((10, 26), "times faster than pure PyTorch (longer is better)", "gray")
    scale = 480 / max([each.ratio for each in shown], default=1)
    for row, each in enumerate(shown):
        top = 50 + 24 * row
        pen.text((10, top + 3), f"{each.case}  {each.dtype}  {each.call}  {each.backend}", "black")
        pen.rectangle((400, top, 400 + scale * each.ratio, top + 16), "steelblue")
        pen.text((408 + scale * each.ratio, top + 3), f"{each.ratio:.1f}", "black")
    return picture


def describe(device: str) -> dict[str, object]:
    """The machine and the versions that figures belong to."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else processor,
        "device": device,
        "threads": f"{torch.get_num_threads()} thread(s)",
        "torch": f"torch {torch.__version__}",
        "python": f"Python {platform.python_version()}",
    }


def main() -> None:
    """Measure, print, and write where a name is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--detector", action="store_true", help="whole steps of DINO R50")
    parser.add_argument("--name", help="write ops/benchmarks/NAME.json and .png")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    measure = measure_detector if given.detector else measure_op
    results = [each for dtype in given.types for each in measure(given.device, dtype, given.rounds)]
    machine = describe(given.device)
    Console().print(*machine.values(), sep=", ", highlight=False)
    show(results)
    if given.name:
        write(results, machine, given.name)


if __name__ == "__main__":
    main()
