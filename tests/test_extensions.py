"""Own parts are found by name, and whatever is wrong with a name is one sentence."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from tagformer.errors import TagformerError
from tagformer.extensions import is_reference, load_reference


@pytest.mark.parametrize("name", ["module:Name", "package.module:Name", "_a.b1:_C"])
def test_references(name: str) -> None:
    assert is_reference(name)


@pytest.mark.parametrize("name", ["ctran", "module:", ":Name", "a-b:Name", "a.:Name", "csv:my.csv", "a:b:c", "a: b"])
def test_other_names(name: str) -> None:
    assert not is_reference(name)


def test_loads_a_class_and_a_function() -> None:
    assert load_reference("pathlib:Path", "model", base=PurePath) is Path
    assert load_reference("importlib:import_module", "loss").__name__ == "import_module"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:A", "there is no module 'no_such_module' on the Python path"),
        ("pathlib:NoSuchName", "pathlib has no 'NoSuchName'"),
        ("pathlib:os", "'os' is not a subclass of pathlib.Path"),
        ("tagformer.errors:TagformerError", "'TagformerError' is not a subclass of pathlib.Path"),
        ("broken_part:A", "importing broken_part failed: ZeroDivisionError"),
        ("needy_part:A", "needy_part needs a module that is missing: No module named 'not_installed_here'"),
    ],
)
def test_a_sentence_for_every_fault(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_part.py").write_text("1 / 0\n")
    (tmp_path / "needy_part.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TagformerError, match="model '") as caught:
        load_reference(name, "model", base=Path)
    assert message in str(caught.value)


def test_what_is_not_a_function() -> None:
    with pytest.raises(TagformerError, match="loss 'pathlib:os': 'os' is not a function"):
        load_reference("pathlib:os", "loss")
