"""Runs side by side: paired intervals, matching, and differences per label."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.evaluation.comparison import compare
from tagformer.metrics import bootstrap_mAP, evaluate
from tests.helpers import CommandLine, evaluation_of, shifted_case

# Comparing runs


def test_a_paired_difference_has_a_narrower_interval() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (400, 3), generator=generator, dtype=torch.int8)
    weak = 1.5 * labels + torch.randn(labels.shape, generator=generator)
    better = weak + 0.25 * labels
    found = compare([evaluation_of(weak, labels), evaluation_of(better, labels)], ["weak", "better"], resamples=300)
    first, second = found.runs
    assert second.difference is not None
    assert second.difference.value == pytest.approx(evaluate(better, labels).mAP - evaluate(weak, labels).mAP)
    assert second.differs
    assert first.mAP.high > second.mAP.low  # the intervals themselves overlap
    samples = bootstrap_mAP([weak, better], labels, resamples=300)
    paired = (samples[1] - samples[0]).std()
    assert paired < 0.5 * (samples[1].std() ** 2 + samples[0].std() ** 2) ** 0.5


def test_runs_are_matched_by_image_and_label_whatever_their_order() -> None:
    logits, labels = shifted_case(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    ids = [f"{number}.jpg" for number in range(60)]
    other = evaluation_of(
        logits[order][:, [2, 0, 1]], labels[order][:, [2, 0, 1]], "cab", [ids[i] for i in order.tolist()]
    )
    found = compare([evaluation_of(logits, labels), other], ["one", "two"], resamples=30)
    assert found.runs[1].difference is not None
    assert (found.runs[1].difference.low, found.runs[1].difference.high) == (0, 0)
    assert not found.runs[1].differs
    part = evaluation_of(logits[10:], labels[10:], ids=ids[10:])
    assert (compare([part, other], ["a", "b"], resamples=10).images, compare([part, other], ["a", "b"]).left_out) == (
        50,
        10,
    )


def test_runs_that_cannot_be_compared_are_rejected() -> None:
    logits, labels = shifted_case(20)
    one = evaluation_of(logits, labels)
    with pytest.raises(TagformerError, match="no image in common"):
        compare([one, evaluation_of(logits, labels, ids=[f"x{i}" for i in range(20)])], ["one", "two"])
    with pytest.raises(TagformerError, match="no label in common"):
        compare([one, evaluation_of(logits, labels, names="xyz")], ["one", "two"])
    changed = labels.clone()
    changed[3, 1] = 1 - changed[3, 1]
    with pytest.raises(TagformerError, match=r"different labels: image '3\.jpg', label 'b'"):
        compare([one, evaluation_of(logits, changed)], ["one", "two"])


def test_the_label_differences_go_from_gain_to_loss() -> None:
    labels = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int8)
    one, two = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    found = compare([evaluation_of(one, labels), evaluation_of(two, labels)], ["one", "two"], resamples=10)
    assert found.label_differences(1) == [("b", 0.5, 1.0), ("a", 1.0, 0.5)]


def test_compare_prints_runs_side_by_side(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_run, other)
    code, out, _ = tagformer(
        "compare", small_run, other, "--resamples", "20", "--tables", tmp_path / "t", "--workers", "0"
    )
    assert code == 0
    assert "+0.0 to +0.0" in " ".join(out.split())
    assert "cannot be distinguished" in out
    assert "differ" in (tmp_path / "t" / "comparison.md").read_text()
