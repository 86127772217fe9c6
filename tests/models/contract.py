"""What every model promises, as one class of tests; the test file of a model begins with a subclass of it."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.models import MultiLabelModel, create_model, model_class
from tests.small_models import LABELS, SMALL, images, nothing_known, small, some_known


class ModelContract:
    """The tests of any model.

    Attributes:
        name: of the model; `small_models.SMALL` has options that make it small.
        options: further options.
        heat_map_side: height and width of its heat maps for images of 32 pixels.
        has_output_bias: whether it can start from the frequencies of the labels.
        unused_weights: endings of the names of weights that the model does not use with these options.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    heat_map_side: ClassVar[int] = 4
    has_output_bias: ClassVar[bool] = True
    unused_weights: ClassVar[tuple[str, ...]] = ()

    def model(self, seed: int = 0) -> MultiLabelModel:
        return small(self.name, seed=seed, **self.options)

    @torch.no_grad()
    def test_logits_are_float32_and_finite(self) -> None:
        logits = self.model()(images(3), some_known(3)).logits
        assert logits.shape == (3, LABELS)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    @torch.no_grad()
    def test_encode_then_decode_is_forward(self) -> None:
        model = self.model()
        for known in (None, some_known(3)):
            features = model.encode(images(3))
            assert len(features) == 3
            assert torch.equal(model.decode(features, known).logits, model(images(3), known).logits)

    @torch.no_grad()
    def test_no_known_labels_is_the_same_as_all_unknown(self) -> None:
        model = self.model()
        assert torch.equal(model(images()).logits, model(images(), nothing_known()).logits)

    @torch.no_grad()
    def test_known_labels_change_the_logits_if_the_model_uses_them(self) -> None:
        model = self.model()
        are_equal = torch.equal(model(images(3)).logits, model(images(3), some_known(3)).logits)
        assert are_equal is not model.uses_known

    @torch.no_grad()
    def test_one_row_of_known_labels_serves_the_whole_batch(self) -> None:
        model, row = self.model(), some_known(1)
        expected = model(images(3), row.expand(3, -1)).logits
        torch.testing.assert_close(model(images(3), row).logits, expected, rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_the_images_of_a_batch_are_independent(self) -> None:
        model = self.model()
        logits = model(images(3), some_known(3)).logits
        for row in range(3):
            single = model(images(3)[row : row + 1], some_known(3)[row : row + 1]).logits
            torch.testing.assert_close(single[0], logits[row], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_the_image_changes_the_logits_if_the_model_uses_it(self) -> None:
        model = self.model()
        logits = model(images()).logits
        assert ((logits[0] - logits[1]).abs().max() > 1e-4) == model.uses_image

    def test_gradients_reach_every_weight(self) -> None:
        model = self.model().train()
        output = model(images(3), some_known(3))
        loss = output.logits.square().sum()
        if output.count_logits is not None:
            loss = loss + output.count_logits.square().sum()
        loss.backward()
        for name, weight in model.named_parameters():
            if (model.uses_image or not name.startswith("backbone.")) and not name.endswith(self.unused_weights):
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name
        gradients = [weight.grad for weight in model.backbone.parameters() if weight.grad is not None]
        assert any(gradient.any() for gradient in gradients) == model.uses_image

    @torch.no_grad()
    def test_a_state_dict_is_the_whole_model(self) -> None:
        model, other = self.model(), self.model(seed=9)
        assert not torch.equal(other(images(), some_known()).logits, model(images(), some_known()).logits)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(images(), some_known()).logits, model(images(), some_known()).logits)

    @torch.no_grad()
    def test_evaluation_is_deterministic_and_a_copy_is_equal(self) -> None:
        model = self.model()
        first = model(images(), some_known()).logits
        assert torch.equal(model(images(), some_known()).logits, first)
        assert torch.equal(copy.deepcopy(model)(images(), some_known()).logits, first)

    @torch.no_grad()
    def test_logits_under_autocast_are_float32_and_close(self) -> None:
        model = self.model()
        exact = model(images(), some_known()).logits
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images(), some_known()).logits
        assert logits.dtype == torch.float32
        assert not torch.equal(logits, logits.bfloat16().float())  # they were computed in float32, not only converted
        torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)

    def test_heat_maps_are_those_of_the_chosen_labels(self) -> None:
        model = self.model()
        if not model.uses_image:
            with pytest.raises(TagformerError, match="has no heat maps"):
                model.heat_maps(images(), [0])
            return
        with torch.no_grad():
            maps, one = model.heat_maps(images(), [2, 0]), model.heat_maps(images()[1:], [0])
        assert maps.shape == (2, 2, self.heat_map_side, self.heat_map_side)
        assert not maps.requires_grad
        torch.testing.assert_close(maps[1:, 1:], one, rtol=1e-4, atol=1e-6)

    @torch.no_grad()
    def test_embed_is_a_vector_per_image(self) -> None:
        model = self.model()
        features = model.embed(images(3))
        assert features.shape == (3, model.backbone.channels[-1])
        torch.testing.assert_close(features[1:2], model.embed(images(3)[1:2]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features, model.last_map(images(3)).flatten(2).mean(2))

    @torch.no_grad()
    def test_the_output_bias_starts_from_frequencies(self) -> None:
        model, frequencies = self.model(), torch.tensor([0.1, 0.5, 0.9, 0.01])
        if not self.has_output_bias:
            with pytest.raises(TagformerError, match="no bias"):
                model.start_from_frequencies(frequencies)
            return
        without_bias = model(images()).logits - model.output_bias
        model.start_from_frequencies(frequencies)
        torch.testing.assert_close(torch.sigmoid(model.output_bias), frequencies)
        torch.testing.assert_close(model(images()).logits - model.output_bias, without_bias, rtol=1e-4, atol=1e-5)

    def test_options_are_validated(self) -> None:
        options = model_class(self.name).options()
        assert set(SMALL[self.name]) | set(self.options) <= set(options)
        with pytest.raises(TagformerError, match=f"model '{self.name}' has no option 'colour'"):
            small(self.name, colour="red")
        for option, value in options.items():
            if isinstance(value, bool | float):
                with pytest.raises(TagformerError, match=f"model '{self.name}', option {option}=perhaps: "):
                    small(self.name, **{option: "perhaps"})

    def test_head_prefixes_are_those_of_weights(self) -> None:
        model = small(self.name)
        assert model.head_prefixes
        assert all(any(name.startswith(prefix) for name in model.state_dict()) for prefix in model.head_prefixes)

    def test_labels_are_a_number_or_names_or_a_label_space(self) -> None:
        space = LabelSpace(("cat", "dog", "night"), extra=("night",))
        backbone = self.model().backbone
        for labels, names in ((2, None), (["cat", "dog"], ("cat", "dog")), (space, space.names)):
            model = create_model(self.name, labels, backbone, **SMALL[self.name], **self.options)
            assert names is None or model.label_space.names == names
            assert model.eval()(images()).logits.shape == (2, len(model.label_space))
