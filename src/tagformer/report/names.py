"""Long names cut so that they fit, and so that different names stay different."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence


def shorten(name: str, fits: Callable[[str], bool]) -> str:
    """A name that fits: one that is too long loses its middle, and keeps both ends.

    >>> from tagformer.report.names import shorten
    >>> shorten("has_upperparts_color::iridescent", lambda text: len(text) <= 12)
    'has_up…scent'
    """
    if fits(name):
        return name
    for kept in range(len(name) - 1, 1, -1):
        cut = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
        if fits(cut):
            return cut
    return "…"


def shorten_all(names: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    """Names that fit, as `shorten` cuts them; those that would look equal lose their common beginning instead.

    >>> from tagformer.report.names import shorten_all
    >>> shorten_all(["a_long_red_thing_of_all", "a_long_blue_thing_of_all"], lambda text: len(text) <= 8)
    ['…red…all', '…blu…all']
    """
    cut = [shorten(name, fits) for name in names]
    for text in set(cut):
        equal = [number for number, other in enumerate(cut) if other == text]
        different = {names[number] for number in equal}
        if len(different) > 1:
            begin = _common_beginning(different)
            for number in equal:
                cut[number] = "…" + shorten(names[number][begin:], lambda rest: fits("…" + rest))
    return cut


def _common_beginning(names: Collection[str]) -> int:
    """The number of characters that different names have in common at their beginning."""
    same = 0
    while len({name[: same + 1] for name in names}) == 1:
        same += 1
    return same
