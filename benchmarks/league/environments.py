"""The environments of the rivals: each has its own, with its own versions of torch and timm."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from tagformer.errors import TagformerError

COMMON = ("torch>=2.6", "torchvision>=0.21", "timm>=1.0.15", "safetensors>=0.4", "numpy>=1.26")
RIVALS = {"fastai": ("fastai>=2.8", *COMMON), "lightlytrain": ("lightly-train>=0.18", *COMMON)}
DEFAULT_FOLDER = Path("~/.cache/tagformer/league/environments").expanduser()


def python_of(entry: str, folder: Path) -> Path:
    """The Python program that runs an entry: this one, or that of the rival's environment.

    Raises:
        TagformerError: the environment does not exist.
    """
    if entry not in RIVALS:
        return Path(sys.executable)
    program = folder / entry / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not program.exists():
        raise TagformerError(
            f"{entry} has no environment in {folder}: make it with 'python benchmarks/league.py setup {entry}' "
            "(about 6 GB)."
        )
    return program


def set_up(entry: str, folder: Path) -> None:
    """Create the environment of a rival and install its packages; one that exists is brought up to date.

    Raises:
        TagformerError: not a rival, or pip fails.
    """
    if entry not in RIVALS:
        raise TagformerError(f"'{entry}' needs no environment of its own; {', '.join(RIVALS)} do.")
    place = folder / entry
    if not place.exists():
        venv.create(place, with_pip=True)
    command = [str(python_of(entry, folder)), "-m", "pip", "install", "--disable-pip-version-check", *RIVALS[entry]]
    if subprocess.run(command, check=False).returncode:
        raise TagformerError(f"pip could not install {entry} into {place}: see above.")
