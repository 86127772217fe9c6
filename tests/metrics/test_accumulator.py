from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from tagformer.metrics import MultiLabelScores, evaluate

IMAGES, LABELS = 23, 7


def case() -> tuple[Tensor, Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(IMAGES, LABELS, generator=generator).round(decimals=1)  # with some ties
    labels = torch.randint(-1, 2, (IMAGES, LABELS), generator=generator, dtype=torch.int8)
    return logits, labels, [f"{number}.jpg" for number in range(IMAGES)]


def figures(metric: MultiLabelScores) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def one_process() -> dict[str, float]:
    metric = MultiLabelScores()
    metric.update(*case())
    return figures(metric)


def score_a_part(rank: int, world: int, folder: str) -> None:
    """What each process does: score its share of the images in batches, and write the figures to a file."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    logits, labels, ids = case()
    shares = {
        "padded": list(DistributedSampler(range(IMAGES), world, rank, shuffle=False)),  # repeats some images
        "uneven": list(range(IMAGES))[rank::world],
        "empty": list(range(IMAGES)) if rank == 0 else [],  # the others have none
    }
    results = {}
    for name, share in shares.items():
        metric = MultiLabelScores()
        for start in range(0, len(share), 4):
            part = share[start : start + 4]
            metric.update(logits[part], labels[part], [ids[i] for i in part])
        results[name] = (figures(metric), metric.scores.images if metric.scores else 0)
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_score_exactly_as_one(world: int, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(score_a_part, (world, str(tmp_path)), nprocs=world)
    expected = one_process()
    for rank in range(world):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(list(DistributedSampler(range(IMAGES), world, rank))) * world > IMAGES
        for name, (values, images) in results.items():
            assert (name, values) == (name, expected)
            assert images == IMAGES


def test_batches_add_up_to_the_whole() -> None:
    logits, labels, ids = case()
    metric = MultiLabelScores(threshold=0.4)
    for start in range(0, IMAGES, 5):
        part = slice(start, start + 5)
        metric.update(logits[part].bfloat16(), labels[part], ids[part])
    metric.update(logits[:0], labels[:0], [])
    result = figures(metric)
    expected = evaluate(logits.bfloat16().float(), labels, threshold=0.4)
    assert result["mAP"] == expected.mAP
    assert result["CF1"] == expected.all.CF1
    assert result["subset_accuracy"] == expected.image.subset_accuracy
    assert metric.scores is not None
    assert torch.equal(metric.scores.average_precision, expected.average_precision)
    assert metric.logits[0].dtype == torch.float32


def test_after_a_reset_it_starts_anew() -> None:
    logits, labels, ids = case()
    metric = MultiLabelScores()
    metric.update(-logits, labels, ids)
    metric.compute()
    metric.reset()
    metric.update(logits, labels, ids)
    assert figures(metric) == one_process()


def test_what_cannot_be_scored_is_an_error() -> None:
    logits, labels, ids = case()
    metric = MultiLabelScores()
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(ValueError, match="no images"):
        metric.compute()
    with pytest.raises(ValueError, match="with B ids"):
        metric.update(logits, labels, ids[:-1])
    with pytest.raises(ValueError, match="must both be"):
        metric.update(logits, labels[:, :2], ids)
    metric.update(logits[:2], labels[:2], ["same", "same"])
    with pytest.raises(ValueError, match="same id"):
        metric.compute()


def test_ids_may_be_numbers() -> None:
    logits, labels, _ = case()
    metric = MultiLabelScores()
    metric.update(logits, labels, range(IMAGES))
    assert figures(metric) == one_process()
    assert not math.isnan(figures(metric)["mAP"])
