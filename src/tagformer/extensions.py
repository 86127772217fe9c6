"""Your own parts, named ``package.module:Name``: a model, a backbone, a loss or a data format.

The module is imported by its name from the Python path, to which the command line adds the current folder. Recipes and
run folders keep only the name, never code, so whoever opens a run that has an own part needs the module as well.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tagformer.errors import TagformerError, did_you_mean

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
FILE_REFERENCE = re.compile(r"(?P<folder>.*[/\\])?(?P<module>[A-Za-z_]\w*)(?P<suffix>\.py)?:(?P<name>[A-Za-z_]\w*)")


def is_reference(name: str) -> bool:
    """Whether a name has the form ``package.module:Name``.

    >>> is_reference("my_package.models:MyModel"), is_reference("ctran")
    (True, False)
    """
    return REFERENCE.fullmatch(name) is not None


def meant_reference(name: str) -> str:
    """The end of a message about a file in the place of a module; empty where the name has no file.

    >>> meant_reference("parts/my_model.py:MyModel")
    " (write 'my_model:MyModel', and run the command in the folder of my_model.py)"
    """
    match = FILE_REFERENCE.fullmatch(name)
    if match is None or not (match["folder"] or match["suffix"]):
        return ""
    return f" (write '{match['module']}:{match['name']}', and run the command in the folder of {match['module']}.py)"


def load_reference(name: str, kind: str, base: type | None = None) -> Any:
    """Import the object that ``package.module:Name`` names.

    Args:
        name: see `is_reference`.
        kind: what the object is used as, for messages: "model".
        base: the class that it must be a subclass of; None: it must be a function.

    Raises:
        TagformerError: there is no such module or no such name in it, the module is one of Python's standard library
            (which is never imported for this, since a run folder of somebody else may name it), the import fails, or
            the object is neither a subclass of `base` nor a function.
    """
    module_name, _, attribute = name.partition(":")
    module = _import(module_name, f"{kind} '{name}'", meant_reference(name))
    where = getattr(module, "__file__", None) or f"the folder {module_name}, which has no __init__.py,"
    if not hasattr(module, attribute):
        raise TagformerError(f"{kind} '{name}': {where} has no '{attribute}'{did_you_mean(attribute, vars(module))}.")
    value = getattr(module, attribute)
    if base is None and (not callable(value) or isinstance(value, type)):
        raise TagformerError(f"{kind} '{name}': '{attribute}' is not a function ({where}).")
    if base is not None and not (isinstance(value, type) and issubclass(value, base)):
        expected = f"{base.__module__}.{base.__name__}"
        raise TagformerError(f"{kind} '{name}': '{attribute}' is not a subclass of {expected} ({where}).")
    return value


def _import(module_name: str, part: str, hint: str) -> ModuleType:
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise TagformerError(
            f"{part}: '{module_name}' is a module of Python's standard library: give your file another name."
        )
    try:
        return importlib.import_module(module_name)
    except (TagformerError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TagformerError(f"{part}: {module_name} needs a module that is missing: {error}.") from error
        raise TagformerError(
            f"{part}: there is no module '{module_name}' on the Python path"
            f"{hint or '; run the command in the folder of its file, or set PYTHONPATH'}."
        ) from error
    except SyntaxError as error:
        raise TagformerError(f"{part}: {error.filename}, line {error.lineno}: {error.msg}.") from error
    except SystemExit as error:
        raise TagformerError(
            f"{part}: importing {module_name} ends the program (sys.exit): put what a script does under "
            "if __name__ == '__main__'."
        ) from error
    except BaseException as error:  # whatever the user's code raises
        raise TagformerError(f"{part}: importing {module_name} failed: {reason(error, module_name)}.") from error


def reason(error: BaseException, module_name: str | None = None) -> str:
    """An error in one line, with the place in the user's module where it was raised.

    Args:
        error: any exception.
        module_name: of the user's module, or a reference to something in it.

    >>> reason(ValueError("two" + chr(10) + "lines"))
    'ValueError: two lines'
    """
    text = " ".join(str(error).split()).rstrip(".")
    if len(text) > 300:
        text = text[:300] + " ..."
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    path = (module_name or "").partition(":")[0].replace(".", "/")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if path and _is_of(frame.filename, path)]
    return f"{line} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else line


def _is_of(file: str, module_path: str) -> bool:
    plain = "/" + file.replace("\\", "/")
    return plain.endswith((f"/{module_path}.py", f"/{module_path}/__init__.py"))


@contextmanager
def own_code(name: str, part: str, advice: str = "") -> Iterator[None]:
    """Run code of the user: whatever it raises becomes one sentence; a `TagformerError` passes.

    Args:
        name: the reference to the part.
        part: what failed, which begins the sentence: "model 'my_part:Model': decode".
        advice: ends the sentence.

    Raises:
        TagformerError: the code raised an exception.
    """
    try:
        yield
    except TagformerError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, NotImplementedError) and not str(error):
            raise TagformerError(f"{part} is not defined: {advice or 'see docs/extending.md'}.") from error
        raise TagformerError(f"{part} failed: {reason(error, name)}{': ' + advice if advice else ''}.") from error
