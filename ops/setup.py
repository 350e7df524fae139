"""Packs whatever libraries this machine has compilers for; goes on without the others.

The libraries have a C interface and use neither torch nor Python, so the wheel fits every version
of both.
"""

from __future__ import annotations

from pathlib import Path

from compilers import build_all
from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class BuildLibraries(build_py):
    """Copies the Python files, then compiles the libraries next to them."""

    def run(self) -> None:
        """Build everything into `build_lib`."""
        super().run()
        target = Path(self.build_lib) / "detbox_ops"
        target.mkdir(parents=True, exist_ok=True)
        build_all(Path(__file__).parent / "csrc", target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What an installation consists of."""
        built = (Path(self.build_lib) / "detbox_ops").glob("*")
        ours = [str(each) for each in built if each.suffix in (".so", ".dylib", ".json")]
        return [*super().get_outputs(include_bytecode), *ours]


class PlatformWheel(bdist_wheel):
    """Fits any Python 3 of this platform."""

    def finalize_options(self) -> None:
        """Declare that there is compiled code inside."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Python, its binary interface, platform."""
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildLibraries, "bdist_wheel": PlatformWheel})
