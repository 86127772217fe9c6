from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagformer.errors import TagformerError
from tagformer.labels.parsing import parse_known


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (["dog=yes"], {"dog": True}),
        (["dog=yes,cat=no"], {"dog": True, "cat": False}),
        (["dog=yes", "cat=no,cow=unknown"], {"dog": True, "cat": False, "cow": None}),
        (["dog=1,cat=0"], {"dog": True, "cat": False}),
        (["dog=true,cat=false"], {"dog": True, "cat": False}),
        ([" dog = YES , cat=No"], {"dog": True, "cat": False}),
        (["traffic light=yes"], {"traffic light": True}),
        (["a=b=no"], {"a=b": False}),
        (["bars\\, two=yes,dog=no"], {"bars, two": True, "dog": False}),
        (["back\\\\slash=yes"], {"back\\slash": True}),
        (["has_bill_shape::dagger=no"], {"has_bill_shape::dagger": False}),
        (["dog=yes,"], {"dog": True}),
        ([], {}),
        ([""], {}),
    ],
)
def test_assignments_are_read(texts: list[str], known: dict[str, bool | None]) -> None:
    assert parse_known(texts) == known


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["dog"], "known label 'dog': write NAME=yes or NAME=no"),
        (["dog=maybe"], "known label 'dog=maybe'"),
        (["dog="], "known label 'dog='"),
        (["dog=yes,cat"], "known label 'cat'"),
        (["bars, two=yes"], "known label 'bars'"),
        (["dog=yes,dog=no"], "known label 'dog' is given twice"),
        (["dog=yes", "dog=yes"], "known label 'dog' is given twice"),
    ],
)
def test_text_that_is_not_an_assignment_is_an_error(texts: list[str], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        parse_known(texts)


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.text(st.sampled_from(",=\\; a\n"), max_size=8),
)


@given(
    states=st.dictionaries(NAMES.map(str.strip).filter(bool), st.sampled_from((True, False, None)), max_size=5),
    together=st.booleans(),
)
def test_any_name_can_be_known(states: dict[str, bool | None], together: bool) -> None:
    words = {True: "yes", False: "no", None: "unknown"}
    texts = [name.replace("\\", "\\\\").replace(",", "\\,") + "=" + words[state] for name, state in states.items()]
    assert parse_known([",".join(texts)] if together else texts) == states
