"""Known labels as people write them: ``dog=yes,cat=no``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tagformer.errors import TagformerError

STATES = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False, "unknown": None}


def parse_known(texts: Sequence[str]) -> dict[str, bool | None]:
    """Read assignments ``name=yes``, ``name=no`` or ``name=unknown``, separated by commas.

    The state follows the last ``=``, so names may contain ``=``. A comma within a name is written ``\\,``.

    Raises:
        TagformerError: an assignment has no ``=`` or an unknown state, or a label is assigned twice.

    >>> from tagformer.labels import parse_known
    >>> parse_known(["dog=yes, cat=no", "night=unknown"])
    {'dog': True, 'cat': False, 'night': None}
    """
    known: dict[str, bool | None] = {}
    for text in texts:
        for escaped in re.findall(r"((?:\\.|[^,])+)(?:,|$)", text):
            assignment = re.sub(r"\\([,\\])", r"\1", escaped).strip()
            name, equals, state = assignment.rpartition("=")
            name, state = name.strip(), state.strip().lower()
            if not equals or state not in STATES:
                raise TagformerError(
                    f"known label '{assignment}': write NAME=yes or NAME=no (a comma within a name as \\,)."
                )
            if name in known:
                raise TagformerError(f"known label '{name}' is given twice: remove one of the two.")
            known[name] = STATES[state]
    return known
