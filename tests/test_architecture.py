"""The rules of docs/architecture.md, read off the code: imports, sizes of files and folders, public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tagformer

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tagformer"
# From the ground up: a module imports from its own layer and those before it.
LAYERS = (
    ("errors", "_version"),
    ("extensions", "files", "safe_text"),
    ("labels",),
    ("images",),
    ("losses", "metrics"),
    ("backbones",),
    ("models",),
    ("data",),
    ("features",),
    ("recipes",),
    ("runs",),
    ("evaluation",),
    ("tagging", "answers"),
    ("training",),
    ("report", "doctor"),
    ("serve",),
    ("cli",),
    ("__main__",),
)
LONGEST_FILE, LARGEST_FOLDER = 300, 16
PUBLIC = [
    "LabelSpace",
    "ModelOutput",
    "MultiLabelModel",
    "Prediction",
    "TagformerError",
    "Tagger",
    "__version__",
    "create_model",
    "data",
    "evaluate_model",
    "labels",
    "list_models",
    "load_dataset",
    "losses",
    "metrics",
    "models",
]


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(SOURCE.rglob("*.py"))}
PACKAGES = [name for name, file in MODULES.items() if file.name == "__init__.py"]


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a file imports from anywhere, within functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write absolute imports"
            for alias in node.names:
                yield node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""


def dependencies(name: str) -> set[str]:
    """The modules of this project that a module imports."""
    found = set()
    for module, member in imported(MODULES[name]):
        if f"{module}.{member}" in MODULES:
            found.add(f"{module}.{member}")
        elif module in MODULES:
            found.add(module)
    return found - {name}


def layer(name: str) -> int:
    top = name.split(".")[1]
    return next(number for number, layer in enumerate(LAYERS) if top in layer)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "tagformer"])
def test_imports_point_downwards(name: str) -> None:
    upwards = {other for other in dependencies(name) - {"tagformer"} if layer(other) > layer(name)}
    assert not upwards


def test_no_circles() -> None:
    TopologicalSorter({name: dependencies(name) for name in MODULES}).prepare()


@pytest.mark.parametrize("name", list(MODULES))
def test_the_code_imports_from_the_defining_module(name: str) -> None:
    """Packages hand names on for users; within the code the way to a definition is one step."""
    through_packages = dependencies(name) & set(PACKAGES) - {"tagformer.cli"}
    assert not through_packages


def test_only_training_knows_lightning() -> None:
    users = {
        name.split(".")[1]
        for name, file in MODULES.items()
        if any(m.startswith("lightning") for m, _ in imported(file))
    }
    assert users == {"training"}


def test_models_losses_and_metrics_know_no_data_sets_and_no_recipes() -> None:
    for name in MODULES:
        if name.startswith(("tagformer.models", "tagformer.losses", "tagformer.metrics")):
            assert not {other for other in dependencies(name) if other.split(".")[1] in ("data", "recipes", "runs")}


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples", "scripts"])
def test_files_are_short(folder: str) -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / folder).rglob("*.py")}
    assert {str(file.relative_to(ROOT)): length for file, length in lengths.items() if length > LONGEST_FILE} == {}


def test_folders_are_small() -> None:
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    sizes = {folder: sum(file.suffix in (".py", ".yaml") for file in folder.iterdir()) for folder in folders}
    assert {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_tests_do_not_import_one_another() -> None:
    for file in (ROOT / "tests").rglob("*.py"):
        for module, member in imported(file):
            assert not re.search(r"(^|\.)test_", f"{module}.{member}"), f"{file} imports {module}"


def test_every_folder_of_tests_is_one_of_the_code() -> None:
    folders = {file.parent.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py")}
    assert {str(folder) for folder in folders if not (SOURCE / folder).is_dir()} == set()


def test_the_package_shows_its_public_names_and_nothing_else() -> None:
    assert dir(tagformer) == PUBLIC == sorted(tagformer.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_hands_on_is_there_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    if names:
        assert dir(module) == sorted(names)
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            summary = (inspect.getdoc(value) or "").split("\n\n")[0]
            assert summary.rstrip().endswith((".", ":")), f"{package}.{name} needs a summary line"
            members = [value, *(vars(value).values() if inspect.isclass(value) else ())]
            assert any(">>>" in (inspect.getdoc(member) or "") for member in members), (
                f"{package}.{name} needs an example"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_hides_a_module(package: str) -> None:
    modules = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == package}
    public = importlib.import_module(package)
    hiding = {
        name for name in modules & set(getattr(public, "__all__", ())) if not inspect.ismodule(getattr(public, name))
    }
    assert not hiding


def test_packages_import_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "PIL", "matplotlib"]
    code = f"import sys, {', '.join(PACKAGES)}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
