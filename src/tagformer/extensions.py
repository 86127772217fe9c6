"""Your own parts, named ``package.module:Name``: a model, a backbone, a loss or a data format.

The module is imported by its name from the Python path, to which the command line adds the current folder. Recipes and
run folders keep only the name, never code, so whoever opens a run that has an own part needs the module as well.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from tagformer.errors import TagformerError

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_reference(name: str) -> bool:
    """Whether a name has the form ``package.module:Name``.

    >>> is_reference("my_package.models:MyModel"), is_reference("ctran")
    (True, False)
    """
    return REFERENCE.fullmatch(name) is not None


def load_reference(name: str, kind: str, base: type | None = None) -> Any:
    """Import the object that ``package.module:Name`` names.

    Args:
        name: see `is_reference`.
        kind: what the object is used as, for messages: "model".
        base: the class that it must be a subclass of; None: it must be a function.

    Raises:
        TagformerError: there is no such module or no such name in it, the import fails, or the object is neither a
            subclass of `base` nor a function.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TagformerError(f"{kind} '{name}': {module_name} needs a module that is missing: {error}.") from error
        raise TagformerError(
            f"{kind} '{name}': there is no module '{module_name}' on the Python path; run the command in the folder "
            "of its file, or set PYTHONPATH."
        ) from error
    except Exception as error:
        raise TagformerError(f"{kind} '{name}': importing {module_name} failed: {error!r}.") from error
    value = getattr(module, attribute, None)
    if value is None:
        raise TagformerError(f"{kind} '{name}': {module_name} has no '{attribute}'.")
    if base is None and not callable(value):
        raise TagformerError(f"{kind} '{name}': '{attribute}' is not a function.")
    if base is not None and not (isinstance(value, type) and issubclass(value, base)):
        raise TagformerError(f"{kind} '{name}': '{attribute}' is not a subclass of {base.__module__}.{base.__name__}.")
    return value
