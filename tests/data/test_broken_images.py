"""Headers that lie: our own error or a picture, within bounded memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes_on_disk import colour_scene

from detbox.data.images import Reading, UnreadableImageError, decode

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA", "JPEG2000")
READING = Reading(max_pixels=1_000_000)


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colour_scene()).save(file, kind, **options)
    return file.getvalue()


FILES = {kind: encoded(kind) for kind in FORMATS}
FILES["TIFF, deflated"] = encoded("TIFF", compression="tiff_adobe_deflate")
FILES["JPEG, progressive"] = encoded("JPEG", progressive=True)


def read_or_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        picture = decode(path, reading=READING)
    except UnreadableImageError:
        return
    assert picture.pixels.shape[0] == 3
    assert picture.pixels[0].numel() <= READING.max_pixels


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_broken_files_are_read_or_refused_in_our_own_words(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, min(len(content), 200) - 1))
        width = data.draw(st.sampled_from((1, 2, 4)))
        content[place : place + width] = data.draw(
            st.sampled_from((b"\0" * width, b"\xff" * width))
            | st.binary(min_size=width, max_size=width)
        )
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    read_or_refused(tmp_path / "a", bytes(content[:end]))


def sized_png(width: int, height: int) -> bytes:
    """A whole header and no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"")
    rest = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + check + rest


def resized_header(kind: str, width: int, height: int) -> bytes:
    """A small file that says it is of another size."""
    content = bytearray(FILES[kind])
    if kind == "BMP":
        content[18:26] = struct.pack("<II", width, height)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
    elif kind == "TIFF":
        start = struct.unpack("<I", content[4:8])[0]
        for entry in range(struct.unpack("<H", content[start : start + 2])[0]):
            place = start + 2 + 12 * entry
            tag = struct.unpack("<H", content[place : place + 2])[0]
            if tag in (256, 257):
                side = width if tag == 256 else height
                content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, side)
    else:
        place = next(content.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in content)
        content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def icon_of(png: bytes) -> bytes:
    """An icon that says it is small, around a picture that says it is not."""
    entry = struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


SIZED = ("GIF", "BMP", "TIFF", "JPEG", "JPEG, progressive")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads memory from /proc"
)
MEGABYTES = """
import re, sys
from pathlib import Path
from detbox.data.images import UnreadableImageError, decode
from detbox.data.transforms import Display
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
def resident(what):
    return int(re.search(what + r":\\s*(\\d+) kB", STATUS.read_text())[1]) / 1024
decode(Path(sys.argv[1]))
for name in sys.argv[2:]:
    FORGET.write_text("5")  # the peak
    before = resident("VmRSS")
    try:
        outcome = str(tuple(decode(Path(name), least=Display(400, 600).size).pixels.shape[1:]))
    except UnreadableImageError as error:
        outcome = error.reason
    print(round(resident("VmHWM") - before), outcome, sep=";")
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Growth of a process in megabytes and what it got, by file, after a first small one."""
    folder = tmp_path_factory.mktemp("pictures")
    files = {f"absurd {kind}": resized_header(kind, 65000, 65000) for kind in SIZED}
    files["absurd PNG"] = sized_png(2**31 - 1, 2**31 - 1)
    files["absurd ICO"] = icon_of(sized_png(60000, 60000))
    # A GIF is whole whatever part of its screen the frames cover.
    files |= {f"hollow {kind}": resized_header(kind, 15000, 15000) for kind in SIZED[1:]}
    files["hollow PNG"] = sized_png(15000, 15000)
    files |= {"large PNG": plain("1", "PNG"), "large JPEG": plain("RGB", "JPEG")}
    for name, content in {"first": FILES["PNG"], **files}.items():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-c", MEGABYTES, *(str(folder / name) for name in ["first", *files])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split(";") for line in done.stdout.splitlines()]
    return {name: (int(size), what) for name, (size, what) in zip(files, lines, strict=True)}


def plain(mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (7200, 5600)).save(file, kind)
    return file.getvalue()


@needs_proc
def test_absurd_sizes_in_headers_cost_no_memory(outcomes: dict[str, tuple[int, str]]) -> None:
    lying = {name: each for name, each in outcomes.items() if not name.startswith("large")}
    assert {name: size for name, (size, _) in lying.items() if size > 60} == {}
    for name, (_, what) in lying.items():
        absurd = name.startswith("absurd")
        assert what == ("of more pixels than data.max_pixels" if absurd else "undecodable"), name


@needs_proc
def test_large_pictures_cost_what_is_shown_of_them(outcomes: dict[str, tuple[int, str]]) -> None:
    (png, seen), (jpeg, also) = outcomes["large PNG"], outcomes["large JPEG"]
    assert seen == also == "(800, 1028)"
    assert png < 120
    assert jpeg < 30
