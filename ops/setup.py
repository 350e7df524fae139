"""Builds the libraries that this machine has compilers for; goes on without the others.

The libraries have a C interface and use neither torch nor Python, so the wheel fits every version
of both.
"""

from __future__ import annotations

import json
from pathlib import Path

from compilers import Unavailable, build_cpu, build_cuda
from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SOURCES = Path(__file__).parent / "csrc"
BUILDERS = {"cpu": build_cpu, "cuda": build_cuda}


class BuildLibraries(build_py):
    """Copies the Python files, then compiles each library next to them."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "detbox_ops"
        target.mkdir(parents=True, exist_ok=True)
        notes = {name: _try(name, target) for name in BUILDERS}
        (target / "build.json").write_text(json.dumps(notes, indent=2) + "\n")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        built = Path(self.build_lib) / "detbox_ops"
        files = [str(each) for each in built.glob("*") if each.suffix in (".so", ".dylib", ".json")]
        return [*super().get_outputs(include_bytecode), *files]


def _try(name: str, target: Path) -> dict[str, object]:
    try:
        notes = BUILDERS[name](SOURCES, target)
    except Unavailable as missing:
        print(f"detbox-ops: without {name}: {missing}", flush=True)
        return {"reason": str(missing)}
    print(f"detbox-ops: built {notes['file']} with {notes['compiler']}", flush=True)
    return notes


class PlatformWheel(bdist_wheel):
    """Fits any Python 3 of this platform: the libraries do not use its interface."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildLibraries, "bdist_wheel": PlatformWheel})
