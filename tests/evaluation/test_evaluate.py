"""Evaluating a model: each image encoded once, each set of known labels decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.evaluation import EvaluationOptions, evaluate_model
from tagformer.images.reading import open_picture
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels.masking import draw_known, draw_order
from tagformer.metrics import average_precision
from tagformer.runs.run import Run


def test_evaluation_encodes_once_and_scores_the_model_s_logits(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.load(small_run)
    model = run.model()
    dataset = load_dataset("scenes?images=180", "test")
    calls: list[int] = []
    encode = model.encode

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode", counted)
    options = EvaluationOptions(known_shares=(0, 0.5), draws=2, batch_size=8, workers=0)
    evaluation = evaluate_model(model, dataset, run.preprocessing(model.backbone), options)
    assert calls == [8, 8, 8, 6]
    transform = evaluation_transform(32)
    images = torch.stack([transform(open_picture(record.image)) for record in dataset])
    with torch.inference_mode():
        features = encode(normalise(images, (0.5,) * 3, (0.5,) * 3))
        targets = dataset.label_space.is_target
        regular = average_precision(model.decode(features).logits[:, targets], dataset.labels[:, targets])
        assert evaluation.regular.mAP == pytest.approx(regular.nanmean().item(), abs=1e-6)
        for point in evaluation.known:
            for draw in range(2):
                order = draw_order(dataset.ids, dataset.label_space, seed=draw)
                known, targets_left = draw_known(dataset.labels, order, point.known_share)
                expected = average_precision(model.decode(features, known).logits, targets_left).nanmean().item()
                assert point.mAPs[draw] == pytest.approx(expected, abs=1e-6)


def test_known_extra_labels_change_the_targets_logits(small_run: Path) -> None:
    run = Run.load(small_run)
    dataset = load_dataset("scenes?images=60", "test")
    model = run.model()
    without, with_extra = (
        evaluate_model(
            model, dataset, run.preprocessing(model.backbone), EvaluationOptions(extra_known=known, workers=0)
        )
        for known in (False, True)
    )
    assert not torch.allclose(without.logits, with_extra.logits)
    assert with_extra.names == tuple(
        name for name in dataset.label_space.names if name not in dataset.label_space.extra
    )
    assert torch.equal(with_extra.labels, dataset.labels[:, dataset.label_space.is_target])
