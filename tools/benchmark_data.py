"""Images per second and core of the input pipeline, beside PIL with v1 transforms.

python tools/benchmark_data.py FOLDER       without a folder: photographs are replaced by shapes

Both decode the same files in one process on one thread, flip them, and resize the short side to
800 (longest 1333). The other way resizes with Pillow, converts to float and normalises on the
host; detbox ships uint8 and leaves the normalisation to the device. Rounds alternate, so a load on
the machine meets both; ratios are medians over paired rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms.v2 import functional as F

from detbox.data.augmentation import Augmentation
from detbox.data.images import decode
from detbox.data.shapes import ensure_shapes
from detbox.data.transforms import fitted_size, view

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORT, LONG = 800, 1333
SUFFIXES = {".jpg", ".jpeg", ".png"}
STEPS = (
    {"name": "flip", "share": 1.0},
    {"name": "resize", "short_sides": [SHORT], "longest": LONG},
)
AUGMENT = Augmentation(STEPS)
NO_LABELS, NO_BOXES = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)


def detbox_uint8(file: Path) -> Tensor:
    """The pipeline of detbox."""
    shown = view(decode(file).pixels, NO_LABELS, NO_BOXES)
    return AUGMENT(shown, (0, 0, 0)).image.as_subclass(Tensor)


def detbox_normalised(file: Path) -> Tensor:
    """The same, with the normalisation on the host."""
    return F.normalize(F.to_dtype(detbox_uint8(file), torch.float32, scale=True), MEAN, STD)


def pillow_v1(file: Path) -> Tensor:
    """Pillow pictures and torchvision v1 transforms, as most detection code has it."""
    with Image.open(file) as image:
        picture = v1.functional.hflip(image.convert("RGB"))
    size = fitted_size(picture.height, picture.width, SHORT, LONG)
    tensor = v1.functional.to_tensor(v1.functional.resize(picture, list(size)))
    return v1.functional.normalize(tensor, MEAN, STD)


PIPELINES: dict[str, Callable[[Path], Tensor]] = {
    "PIL + v1, float": pillow_v1,
    "detbox, normalised on the host": detbox_normalised,
    "detbox, uint8": detbox_uint8,
}


def main() -> None:
    """Print one line per pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, help="pictures, searched in depth")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder or ensure_shapes(128, {"train": 1500, "val": 200})
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES]
    if not files:
        parser.error(f"expected .jpg or .png files below {folder}, found none; name another folder")
    files = files[: options.images]
    rates = _rates(files, options.rounds)
    baseline = rates["PIL + v1, float"]
    print(f"{len(files)} files of {folder}, {options.rounds} paired rounds, one thread")
    print(f"{'pipeline':<34}{'images/s':>10}{'ratio':>8}")
    for name, own in rates.items():
        ratio = median(rate / base for rate, base in zip(own, baseline, strict=True))
        print(f"{name:<34}{median(own):>10.1f}{ratio:>8.2f}")


def _rates(files: list[Path], rounds: int) -> dict[str, list[float]]:
    """Images per second of every round; a first round warms the file cache up."""
    rates: dict[str, list[float]] = {name: [] for name in PIPELINES}
    for _ in range(rounds + 1):
        for name, pipeline in PIPELINES.items():
            start = time.perf_counter()
            for file in files:
                pipeline(file)
            rates[name].append(len(files) / (time.perf_counter() - start))
    return {name: own[1:] for name, own in rates.items()}


if __name__ == "__main__":
    main()
