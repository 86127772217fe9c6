"""Pixels and features that are there already: known labels of each image, and heat maps without the network."""

from __future__ import annotations

import pytest
import torch

from tagformer import Tagger
from tagformer.images import Preprocessing
from tagformer.models import MODELS
from tagformer.models.feedback import FeedbackPropagation
from tests.small_models import LABELS, small

PIXELS = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def tagger(name: str, feedback: bool = False) -> Tagger:
    model = small(name)
    model = FeedbackPropagation(model) if feedback else model
    return Tagger(model, Preprocessing(size=32), torch.full((LABELS,), 0.5), "cpu", temperature=2.0)


@pytest.mark.parametrize(("name", "feedback"), [("ctran", False), ("evidence", False), ("linear", True)])
def test_each_image_has_its_own_known_labels(name: str, feedback: bool) -> None:
    one = tagger(name, feedback)
    known = torch.tensor([[1, -1, -1, 0], [-1, -1, -1, -1], [-1, 0, -1, -1]], dtype=torch.int8)
    features = one.encode(PIXELS)
    together = one.logits(features, known)
    for row in range(3):
        alone = one.logits(features[row : row + 1], known[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)
        images = one.preprocessing.normalise(PIXELS[row : row + 1])
        direct = one.model(images, known[row : row + 1]).logits / 2
        torch.testing.assert_close(alone, direct, rtol=1e-4, atol=1e-5)
    for prediction, states, logits in zip(one.predictions(together, known), known, together, strict=True):
        expected = torch.where(states == -1, 1 / (1 + torch.exp(-logits)), states.float())
        torch.testing.assert_close(prediction.probabilities, expected)
        assert torch.equal(prediction.known, states)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_heat_maps_from_kept_maps_are_those_of_the_image(name: str) -> None:
    one = tagger(name)
    features, maps = one.encode_with_maps(PIXELS)
    torch.testing.assert_close(features, one.encode(PIXELS))
    if name == "mltr":
        assert maps is None
        return
    assert maps is not None
    assert len(maps) == one.model.maps_read
    kept = [part[1:2].clone() for part in maps]
    states, row = torch.full((LABELS,), -1, dtype=torch.int8), features[1:2].clone()
    expected = one.explain_encoded(PIXELS[1:2], row, (0, 0, 1, 1), ["label_2", "label_0"], states)
    black = torch.zeros_like(PIXELS[1:2])  # the image is not looked at
    found = one.explain_encoded(black, row, (0, 0, 1, 1), ["label_2", "label_0"], states, kept)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-6)
    assert not torch.equal(one.encode(black), one.encode(PIXELS[1:2])), "the network sees images again afterwards"
