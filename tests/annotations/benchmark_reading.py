"""What reading a file of COCO's size costs, beside pycocotools, each in a process of its own.

python tests/annotations/benchmark_reading.py
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

IMAGES, OBJECTS, CLASSES = 118_287, 860_001, 80
READERS = {
    "pycocotools": ("from pycocotools.coco import COCO", "COCO(file)"),
    "detbox": (
        "from detbox.annotations import Source, read_coco",
        "read_coco(Source(file.parent, file))",
    ),
}
MEASURED = """
import sys, time
from pathlib import Path
{imports}
file = Path(sys.argv[1])
start = time.process_time()
{read}
seconds = time.process_time() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) / 2**20)
"""


def write(file: Path) -> None:
    """Random boxes with polygons of 8 to 40 numbers."""
    draw = random.Random(0)
    images = [
        {"id": i, "file_name": f"{i:012d}.jpg", "height": 480, "width": 640, "license": 1}
        | {"coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg"}
        | {"date_captured": "2013-11-14 16:28:13", "flickr_url": f"http://farm4/{i:040d}_z.jpg"}
        for i in range(IMAGES)
    ]
    annotations = [
        {"segmentation": [[1.25 * j + i % 97 for j in range(8 + 2 * (i % 17) + 16 * (i % 2))]]}
        | {"area": 0.5 * (i % 999), "iscrowd": 0, "image_id": draw.randrange(IMAGES), "id": i}
        | {"bbox": [0.25 * (i % 999), 9.5, 30.75, 1 + 0.5 * (i % 99)], "category_id": i % CLASSES}
        for i in range(OBJECTS)
    ]
    categories = [{"id": i, "name": f"class {i}"} for i in range(CLASSES)]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(lists))


def measured(imports: str, read: str, file: Path) -> list[float]:
    """CPU seconds of reading alone, and peak GiB of the process, with what it imports."""
    command = [sys.executable, "-c", MEASURED.format(imports=imports, read=read), str(file)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(map(float, told.split()[-2:]))


def main(rounds: int = 3) -> None:
    """Print a line of every round, with the ratios."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "instances_train.json"
        write(file)
        print(f"{file.stat().st_size / 1e6:.0f} MB")
        for _ in range(rounds):
            costs = {name: measured(*reader, file) for name, reader in READERS.items()}
            for name, (seconds, memory) in costs.items():
                print(f"{name}: {seconds:.1f} s of CPU, peak {memory:.2f} GiB", end="; ")
            pairs = zip(costs["detbox"], costs["pycocotools"], strict=True)
            print("ratios", *(f"{ours / theirs:.2f}" for ours, theirs in pairs))


if __name__ == "__main__":
    main()
