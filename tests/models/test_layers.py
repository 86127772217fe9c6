"""Layers that the models share."""

from __future__ import annotations

import pytest
import torch

from tagformer.models.layers.standardised import StandardisedChannels


def test_standardised_channels_change_nothing_before_they_are_fitted() -> None:
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(StandardisedChannels(3)(maps), maps)


def test_standardised_channels_have_mean_0_and_deviation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(50, 3, 6, 6, generator=generator) * torch.tensor([2.0, 5.0, 0.0])[:, None, None] + 4
    standardise = StandardisedChannels(3)
    standardise.fit(maps.mean((0, 2, 3)), maps.std((0, 2, 3)))
    found = standardise(maps)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.std((0, 2, 3)), torch.tensor([1.0, 1.0, 0.0]), rtol=0, atol=1e-3)  # no 0 / 0
    positions = standardise(maps.flatten(2).transpose(1, 2))
    torch.testing.assert_close(positions, found.flatten(2).transpose(1, 2))
    torch.testing.assert_close(standardise(maps[:, :, 0, 0]), found[:, :, 0, 0])
    assert standardise(maps.half()).dtype == torch.float32
    other = StandardisedChannels(3)
    other.load_state_dict(standardise.state_dict())
    assert torch.equal(other(maps), found)
    assert not list(standardise.parameters())


@pytest.mark.parametrize(
    ("mean", "deviation", "message"),
    [
        ([0.0, 0.0], [1.0, 1.0, 1.0], "shape"),
        ([0.0, 0.0, 0.0], [1.0], "shape"),
        ([0.0, 0.0, float("nan")], [1.0, 1.0, 1.0], "finite"),
        ([0.0, 0.0, 0.0], [1.0, -1.0, 1.0], "negative"),
    ],
)
def test_impossible_statistics_are_rejected(mean: list[float], deviation: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StandardisedChannels(3).fit(torch.tensor(mean), torch.tensor(deviation))
