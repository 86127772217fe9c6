"""Which label to ask next, against a joint distribution whose information gains are worked out exactly."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tagformer import Tagger
from tagformer.errors import TagformerError
from tagformer.images import Preprocessing
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.models import ModelOutput, MultiLabelModel, create_model
from tagformer.tagging.questions import entropy_bits, expected_information_gain, label_weights

WORLDS = list(itertools.product((0, 1), repeat=4))


class Joint(MultiLabelModel):
    """Predicts what follows from a joint distribution over four labels; `features` (B, 16) are its 16 weights."""

    uses_known = True

    def __init__(self, label_space: LabelSpace) -> None:
        nn.Module.__init__(self)
        self.label_space = label_space
        self.nothing = nn.Parameter(torch.zeros(1))

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        assert known is not None
        worlds = torch.tensor(WORLDS)
        fits = ((known[:, None] == UNKNOWN) | (known[:, None] == worlds)).all(2)
        weights = features * fits
        present = (weights @ worlds.to(weights.dtype)) / weights.sum(1, keepdim=True)
        return ModelOutput(torch.logit(present.clamp(0, 1)))


def h(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def worked_gain(weights: list[float], given: dict[int, int], label: int, worth: dict[int, float]) -> float:
    """The sum over targets i of worth_i I(y_i; y_label | given), by its definition; I(y; y) = h(y)."""

    def chance(conditions: dict[int, int]) -> float:
        return sum(
            w for w, world in zip(weights, WORLDS, strict=True) if all(world[i] == s for i, s in conditions.items())
        )

    total, base = 0.0, chance(given)
    for target in worth:
        if target in given:
            continue
        if target == label:
            total += worth[target] * h(chance({**given, label: 1}) / base)
            continue
        for a, b in itertools.product((0, 1), repeat=2):
            both = chance({**given, target: a, label: b}) / base
            alone = chance({**given, target: a}) * chance({**given, label: b}) / base**2
            total += worth[target] * both * math.log2(both / alone)
    return total


@pytest.mark.parametrize("weights_of_labels", [None, [0.5, 2.0, 1.0, 0.25]], ids=["alike", "weighted"])
@pytest.mark.parametrize("extra", [(), ("d",)])
def test_the_gain_is_the_mutual_information_with_all_that_is_unknown(
    extra: tuple[str, ...], weights_of_labels: list[float] | None
) -> None:
    space = LabelSpace(("a", "b", "c", "d"), extra=extra)
    weights = torch.rand(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    weights /= weights.sum(1, keepdim=True)
    known = torch.tensor([[-1, -1, -1, -1], [-1, 1, -1, -1], [0, 1, -1, -1]], dtype=torch.int8)
    bits = None if weights_of_labels is None else torch.tensor(weights_of_labels)
    gain = expected_information_gain(Joint(space), weights, known, shortlist=None, weights=bits)
    worth = {i: (weights_of_labels or [1.0] * 4)[i] for i in range(4) if space.names[i] not in extra}
    for row in range(3):
        given = {column: state for column, state in enumerate(known[row].tolist()) if state != UNKNOWN}
        for column in range(4):
            if column in given:
                assert gain[row, column] == -torch.inf
            else:
                assert gain[row, column].item() == pytest.approx(
                    worked_gain(weights[row].tolist(), given, column, worth), abs=1e-5
                )


def test_only_askable_labels_and_the_shortlist_are_worked_out() -> None:
    space = LabelSpace(("a", "b", "c", "d"))
    weights = torch.rand(1, 16, generator=torch.Generator().manual_seed(1))
    known = torch.full((1, 4), UNKNOWN, dtype=torch.int8)
    full = expected_information_gain(Joint(space), weights, known, shortlist=None)
    two = expected_information_gain(Joint(space), weights, known, shortlist=2)
    assert torch.isfinite(two).sum() == 2
    uncertain = entropy_bits(torch.sigmoid(Joint(space).decode(weights, known).logits))[0].argsort(descending=True)[:2]
    assert set(torch.nonzero(torch.isfinite(two[0])).flatten().tolist()) == set(uncertain.tolist())
    torch.testing.assert_close(two[torch.isfinite(two)], full[torch.isfinite(two)])
    askable = torch.tensor([[True, False, False, True]])
    some = expected_information_gain(Joint(space), weights, known, askable, shortlist=None)
    assert torch.isfinite(some).tolist() == askable.tolist()
    everything = torch.tensor([[1, 0, 1, 1]], dtype=torch.int8)
    assert (expected_information_gain(Joint(space), weights, everything) == -torch.inf).all()


def test_getting_surer_whatever_the_answer_was_is_no_information() -> None:
    """A model that doubles its other logits on any input gains no information about them from an answer."""

    class Boastful(Joint):
        def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
            assert known is not None
            return ModelOutput(features * (1 + (known != UNKNOWN).any(dim=1, keepdim=True)))

    logits = torch.tensor([[0.5, -1.0, 2.0, -3.0]])
    known = torch.full((1, 4), UNKNOWN, dtype=torch.int8)
    gain = expected_information_gain(Boastful(LabelSpace(("a", "b", "c", "d"))), logits, known, shortlist=None)
    torch.testing.assert_close(gain, entropy_bits(torch.sigmoid(logits)), rtol=0, atol=1e-5)


def test_the_temperature_divides_the_logits() -> None:
    class Bolder(Joint):
        def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
            return ModelOutput(3 * super().decode(features, known).logits)

    space = LabelSpace(("a", "b", "c", "d"))
    weights = torch.rand(2, 16, generator=torch.Generator().manual_seed(2))
    known = torch.full((2, 4), UNKNOWN, dtype=torch.int8)
    plain = expected_information_gain(Joint(space), weights, known)
    torch.testing.assert_close(expected_information_gain(Bolder(space), weights, known, temperature=3.0), plain)


def test_the_shortlist_has_the_labels_that_are_worth_most_themselves() -> None:
    space = LabelSpace(("a", "b", "c", "d"))
    weights = torch.rand(1, 16, generator=torch.Generator().manual_seed(1))
    known = torch.full((1, 4), UNKNOWN, dtype=torch.int8)
    for rare in range(4):
        bits = torch.ones(4)
        bits[rare] = 1000.0
        gain = expected_information_gain(Joint(space), weights, known, shortlist=1, weights=bits)
        assert torch.isfinite(gain[0]).nonzero().tolist() == [[rare]]


def test_a_tagger_s_suggestions_weigh_rare_labels_up(small_run: Path) -> None:
    tagger, picture = Tagger.load(small_run), Image.new("RGB", (64, 64), (120, 90, 30))
    count = len(tagger.label_space)
    assert tagger.label_weights is not None
    for rare in (0, 3):
        tagger.label_weights = torch.full((count,), 1e-6)
        tagger.label_weights[rare] = 1.0
        (best,) = tagger.suggest(picture, count=1)
        assert best.name == tagger.label_space.names[rare]
        assert len(tagger.suggest(picture, count=99)) == count


def test_bits_about_rare_labels_are_worth_more() -> None:
    weights = label_weights(torch.tensor([0.08, 0.48, 0.18]))
    torch.testing.assert_close(weights / weights[1], torch.tensor([5.0, 1.0, 2.5]))
    assert weights.mean().item() == pytest.approx(1)


def test_entropy_in_bits() -> None:
    torch.testing.assert_close(
        entropy_bits(torch.tensor([0.0, 0.5, 1.0, 0.25])), torch.tensor([0.0, 1.0, 0.0, h(0.25)])
    )


def test_a_tagger_suggests_the_labels_that_tell_most(small_run: Path) -> None:
    tagger = Tagger.load(small_run)
    picture = Image.new("RGB", (64, 64), (120, 90, 30))
    names = tagger.label_space.names
    suggestions = tagger.suggest(picture, count=4)
    assert len(suggestions) == 4
    gains = [suggestion.gain for suggestion in suggestions]
    assert gains == sorted(gains, reverse=True)
    prediction = tagger.predict(picture)[0]
    for suggestion in suggestions:
        column = names.index(suggestion.name)
        assert suggestion.probability == pytest.approx(prediction.probabilities[column].item(), abs=1e-6)
    given = {suggestions[0].name: True}
    assert suggestions[0].name not in [suggestion.name for suggestion in tagger.suggest(picture, given, count=99)]
    everything = dict.fromkeys(names, True)
    assert tagger.suggest(picture, everything) == []


def test_a_model_without_known_labels_has_no_questions() -> None:
    linear = create_model("linear", ["a", "b"], "tiny")
    tagger = Tagger(linear, Preprocessing(size=32), torch.tensor([0.5, 0.5]))
    with pytest.raises(TagformerError, match="'linear' does not use known labels, so an answer would not change"):
        tagger.suggest(Image.new("RGB", (64, 64)))
