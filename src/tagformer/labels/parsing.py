"""Known labels as people write them: ``dog=yes,cat=no``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tagformer.errors import TagformerError

STATES = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False, "unknown": None}


def parse_known(texts: Sequence[str]) -> dict[str, bool | None]:
    """Read assignments ``name=yes``, ``name=no`` or ``name=unknown``, with commas between them.

    The state stands after the last ``=``, so names may contain ``=``; a comma within a name is written ``\\,``.

    Raises:
        TagformerError: an assignment without ``=``, another state, or one label told twice.
    """
    known: dict[str, bool | None] = {}
    for text in texts:
        for part in re.findall(r"((?:\\.|[^,])+)(?:,|$)", text):
            assignment = re.sub(r"\\([,\\])", r"\1", part).strip()
            name, equals, state = assignment.rpartition("=")
            name, state = name.strip(), state.strip().lower()
            if not equals or state not in STATES:
                raise TagformerError(
                    f"known label '{assignment}': write NAME=yes or NAME=no (a comma within a name as \\,)."
                )
            if name in known:
                raise TagformerError(f"label '{name}' is told twice: leave one out.")
            known[name] = STATES[state]
    return known
