"""Own parts are found by name, and whatever is wrong with a name is one sentence."""

from __future__ import annotations

import sys
from pathlib import Path, PurePath

import pytest

from tagformer.errors import TagformerError
from tagformer.extensions import is_reference, load_reference, meant_reference

MODULES = {
    "good_part": "from pathlib import Path\nimport os\nclass Mine(Path): pass\ndef loss(): pass\n",
    "broken_part": "\n1 / 0\n",
    "needy_part": "import not_installed_here\n",
    "half_part": "from good_part import NotThere\n",
    "exiting_part": "import sys\nsys.exit(0)\n",
    "rude_part": "class Rude(BaseException): pass\nraise Rude('no')\n",
    "unfinished_part": "import os\nclass A(:\n",
    "tagging_part": "from tagformer.errors import TagformerError\nraise TagformerError('set MY_DATA first.')\n",
    "interrupted_part": "raise KeyboardInterrupt\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the Python path with the modules above."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["module:Name", "package.module:Name", "_a.b1:_C"])
def test_references(name: str) -> None:
    assert is_reference(name)


@pytest.mark.parametrize("name", ["ctran", "module:", ":Name", "a-b:Name", "a.:Name", "csv:my.csv", "a:b:c", "a: b"])
def test_other_names(name: str) -> None:
    assert not is_reference(name)


@pytest.mark.parametrize("name", ["good.py:M", "./good:M", "parts/good.py:M", "/home/me/good.py:M", "..\\good:M"])
def test_a_file_in_the_place_of_a_module(name: str) -> None:
    assert meant_reference(name) == " (write 'good:M', and run the command in the folder of good.py)"


@pytest.mark.parametrize("name", ["good:M", "package.good:M", "resnet50", "timm/resnet50.a1", "good.py"])
def test_names_without_a_file(name: str) -> None:
    assert meant_reference(name) == ""


def test_loads_a_class_and_a_function() -> None:
    assert issubclass(load_reference("good_part:Mine", "model", base=PurePath), Path)
    assert load_reference("good_part:loss", "loss").__name__ == "loss"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:A", "there is no module 'no_such_module' on the Python path; run the command in the folder"),
        ("good_part.py:Mine", "no module 'good_part.py' on the Python path (write 'good_part:Mine', and run"),
        ("good_part:Mien", "good_part.py has no 'Mien' (did you mean 'Mine'?)."),
        ("only_a_folder:A", "the folder only_a_folder, which has no __init__.py, has no 'A'."),
        ("good_part:os", "'os' is not a subclass of pathlib.Path (/"),
        ("tagformer.errors:TagformerError", "'TagformerError' is not a subclass of pathlib.Path (/"),
        ("broken_part:A", "importing broken_part failed: ZeroDivisionError: division by zero (broken_part.py, line 2)"),
        ("needy_part:A", "needy_part needs a module that is missing: No module named 'not_installed_here'"),
        ("half_part:A", "importing half_part failed: ImportError: cannot import name 'NotThere' from 'good_part'"),
        ("exiting_part:A", "importing exiting_part ends the program (sys.exit): put what a script does under"),
        ("rude_part:A", "importing rude_part failed: Rude: no (rude_part.py, line 2)"),
        ("unfinished_part:A", "unfinished_part.py, line 2: invalid syntax"),
        ("pathlib:PosixPath", "'pathlib' is a module of Python's standard library: give your file another name"),
        ("os.path:join", "'os.path' is a module of Python's standard library"),
    ],
)
def test_a_sentence_for_every_fault(name: str, message: str) -> None:
    with pytest.raises(TagformerError, match="model '") as caught:
        load_reference(name, "model", base=Path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_standard_library_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    with pytest.raises(TagformerError, match="standard library"):
        load_reference("antigravity:fly", "loss")
    assert "antigravity" not in sys.modules


def test_errors_that_pass_unchanged() -> None:
    with pytest.raises(TagformerError, match=r"^set MY_DATA first\.$"):
        load_reference("tagging_part:A", "model", base=Path)
    with pytest.raises(KeyboardInterrupt):
        load_reference("interrupted_part:A", "model", base=Path)


@pytest.mark.parametrize("name", ["os", "Mine"])
def test_what_is_not_a_function(name: str) -> None:
    with pytest.raises(TagformerError, match=f"loss 'good_part:{name}': '{name}' is not a function .*good_part.py"):
        load_reference(f"good_part:{name}", "loss")
