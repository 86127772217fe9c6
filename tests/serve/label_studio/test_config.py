"""Labeling configs: which choices are which labels, and XML that wants more than to be read."""

from __future__ import annotations

import pytest

from tagformer import LabelSpace
from tagformer.errors import TagformerError
from tagformer.serve.label_studio.config import parse_config
from tagformer.serve.label_studio.tasks import chosen_results, chosen_states

SPACE = LabelSpace(("cat", "Dog", "sky", "Animal/bird", "mole", "Mole"))
CONFIG = """<View>
  <Header value="What is there?"/>
  <Image name="photo" value="$image"/><Text name="words" value="$text"/>
  <Choices name="tags" toName="photo" choice="multiple">
    <Choice value="cat"/><Choice value="DOG"/><Choice value="A car" alias="sky"/>
    <Choice value="MOLE"/><Choice value="mole"/>
  </Choices>
  <Choices name="one" toName="photo"><Choice value="cat"/></Choices>
  <Choices name="mood" toName="words"><Choice value="cat"/></Choices>
  <Taxonomy name="tree" toName="photo">
    <Choice value="Animal"><Choice value="bird"/><Choice value="Cat"><Choice value="Siamese"/></Choice></Choice>
    <Choice value="Sky"/>
  </Taxonomy>
</View>"""


def test_choices_are_labels_by_name_alias_and_path() -> None:
    tags, one, tree = parse_config(CONFIG, SPACE)
    assert (tags.name, tags.to_name, tags.kind, tags.variable, tags.multiple) == (
        "tags",
        "photo",
        "choices",
        "image",
        True,
    )
    assert tags.labels == {("cat",): "cat", ("DOG",): "Dog", ("sky",): "sky", ("mole",): "mole"}
    assert tags.without_label == 1, "MOLE could be two labels"
    assert not one.multiple
    assert tree.kind == "taxonomy"
    assert tree.labels == {("Animal", "bird"): "Animal/bird", ("Animal", "Cat"): "cat", ("Sky",): "sky"}
    assert tree.without_label == 2


def test_chosen_choices_are_present_and_those_above_them_too() -> None:
    controls = parse_config(CONFIG, SPACE)
    results = [
        {"from_name": "tags", "type": "choices", "value": {"choices": ["DOG", "nothing"]}},
        {"from_name": "tree", "type": "taxonomy", "value": {"taxonomy": [["Animal", "Cat", "Siamese"]]}},
        {"from_name": "mood", "type": "choices", "value": {"choices": ["cat"]}},
        {"from_name": "tags", "type": "choices", "value": {"text": ["cat"]}},
        {"from_name": "tags", "value": None},
        {"from_name": ["tags"]},
        "nonsense",
        None,
    ]
    assert chosen_states(results, controls) == ({"Dog": 1, "cat": 1}, 2)
    for odd in (5, "cat", [["cat"]], [None], {"cat": 1}):
        assert chosen_states([{"from_name": "tags", "value": {"choices": odd}}], controls)[0] == {}


def test_the_editor_comes_before_drafts_and_drafts_before_annotations() -> None:
    task = {
        "annotations": [{"result": ["old"]}, {"result": ["new"]}, {"result": ["cancelled"], "was_cancelled": True}],
        "drafts": [{"result": ["draft"]}],
        "predictions": [{"result": ["predicted"]}],
    }
    assert chosen_results(task, {"result": ["editor"]}) == ["editor"]
    assert chosen_results(task, {}) == ["draft"]
    assert chosen_results({**task, "drafts": []}) == ["new"]
    assert chosen_results({"predictions": task["predictions"], "drafts": None, "annotations": "x"}) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not XML"),
        ("<View>", "is not XML"),
        ("\ud800", "is not XML"),
        ("<View/>", "has neither Choices nor Taxonomy for an Image"),
        ("<View><Image name='i' value='$i'/><Choices name='c' toName='j'/></View>", "has neither Choices nor Taxonomy"),
        (CONFIG.replace("cat", "x").replace("DOG", "x").replace("sky", "x").replace("ole", "x"), "none of the"),
        ("<!DOCTYPE View [<!ENTITY a 'b'>]><View>&a;</View>", "has a document type"),
        ("<!DOCTYPE View SYSTEM 'file:///etc/passwd'><View/>", "has a document type"),
        ("<View>&a;</View>", "is not XML"),
        ("<a>" * 100 + "</a>" * 100, "over 60 levels"),
        ("<View>" + " " * 1_000_000 + "</View>", "over 1000000 characters"),
    ],
    ids=range(11),
)
def test_a_wrong_config_is_one_sentence(text: str, sentence: str) -> None:
    space = LabelSpace(("cat", "sky")) if "none" in sentence else SPACE
    if "none" in sentence:
        text = text.replace("Cat", "x").replace("Sky", "x")
    with pytest.raises(TagformerError, match=sentence):
        parse_config(text, space)


def test_entities_are_not_expanded() -> None:
    laughs = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10 if n else 'ha'}'>" for n in range(10))
    with pytest.raises(TagformerError, match="has a document type"):
        parse_config(f"<!DOCTYPE View [{laughs}]><View>&l9;</View>", SPACE)
