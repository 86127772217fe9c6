"""Whether the packages that Tagformer needs are there, and fit each other."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from tagformer._version import __version__
from tagformer.doctor.finding import NOTE, OK, PROBLEM, Finding

PACKAGE = "tagformer"
EXTRAS = {
    "heif": "pictures of iPhones (HEIC) cannot be read",
    "huggingface": "data sets of the Hugging Face hub cannot be read",
}


def check_installation() -> Iterator[Finding]:
    """Python, this package, and each required package; then the optional ones that are missing."""
    yield Finding(OK, f"Tagformer {__version__}, Python {platform.python_version()} on {platform.platform()}")
    requirements = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    required = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    problems = [problem for one in required if (problem := _problem(one)) is not None]
    yield from problems
    if not problems:
        yield Finding(OK, f"the {len(required)} packages that it needs are there")
    yield _torch()
    optional = [one for one in requirements if one not in required]
    for extra, what in EXTRAS.items():
        if any(one.marker and one.marker.evaluate({"extra": extra}) and _problem(one) for one in optional):
            yield Finding(NOTE, f"without the extra '{extra}' {what}", f"pip install 'tagformer[{extra}]'")


def _problem(requirement: Requirement) -> Finding | None:
    """What is wrong with an installed package; None where it fits."""
    cure = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(PROBLEM, f"the package {requirement.name} is missing", cure)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(PROBLEM, f"{requirement.name} {version} is not {requirement.specifier}", cure)
    return None


def _torch() -> Finding:
    """Whether torch and torchvision can be imported together; builds that do not fit each other are common."""
    for name in ("torch", "torchvision"):
        try:
            importlib.import_module(name)
        except Exception as error:  # a wrong build fails in many ways, not with ImportError alone
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Finding(
                PROBLEM,
                f"{name} cannot be imported ({reason})",
                "install both from the same place: pip install --force-reinstall torch torchvision",
            )
    return Finding(OK, f"torch {metadata.version('torch')} and torchvision {metadata.version('torchvision')} fit")
