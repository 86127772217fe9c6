"""What training on evidence owes to each of its parts: one change at a time, on remembered features.

``python benchmarks/evidence.py SPEC --weights FILE --size 192 --out FOLDER`` writes ``FOLDER/evidence.json`` with the
mAP with nothing known, of the fixed quarter with 0, 25, 50 and 75 % known, and of the same with 25 % known and one
answer of each image wrong, for each row and seed. Rows that are there already are not repeated. A fifth of the training
images takes the place of the test split, so that settings can be chosen by these figures; with ``--test`` it is the
test split itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tagformer.backbones import Backbone, create_backbone
from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.load import with_labels_of
from tagformer.features import RememberedFeatures, remember_features, view_names
from tagformer.files import write_json
from tagformer.images import Preprocessing
from tagformer.labels import LabelSpace
from tagformer.labels.masking import draw_known, draw_order
from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.models import Evidence, ModelOutput
from tagformer.recipes.settings import StageSettings
from tagformer.training.stages.cooccurrence import TRIED, CooccurrenceTraining, choose_deviation, fit_cooccurrence
from tagformer.training.stages.evidence import EvidenceTraining, aligned, fit_evidence
from tagformer.training.stages.folds import draw_folds
from tagformer.training.stages.heads import Heads, HeadSetting, HeadTraining, fit_heads, out_of_fold
from tagformer.training.stages.heldout import decoded, known_curve, mean_average_precision

NETWORK, FEW = "tf_efficientnet_lite2", 10
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "half of the correction": {"share": 0.5},
    "evidence of heads that have seen the image": {"in_fold": True},
    "evidence with the mean of its fold": {"align": False},
    "co-occurrence alone": {"layers": 0},
    "the encoder alone": {"cooccurrence": False},
    "evidence hidden in 0 % of the samples": {"evidence_dropout": 0.0},
    "evidence hidden in 30 % of the samples": {"evidence_dropout": 0.3},
    "at least 25 % of the labels unknown": {"min_unknown": 0.25},
    "image tokens beside the evidence": {"image": True},
    "40 epochs": {"epochs": 40},
    "learning rate 0.001": {"lr": 1e-3},
    "4 folds": {"folds": 4},
    "16 folds": {"folds": 16},
    "1 view": {"views": 1},
    "4 views": {"views": 4},
}


class EvidenceWithImage(Evidence):
    """Evidence with the mean of the map as one more token; its features are the evidence and that mean, (B, L + C)."""

    def __init__(self, label_space: LabelSpace, backbone: Backbone, **options: Any) -> None:
        super().__init__(label_space, backbone, **options)
        self.projection = nn.Linear(backbone.channels[-1], self.label_embedding.embedding_dim)

    def standardise_evidence(self, evidence_logits: Tensor) -> None:
        super().standardise_evidence(evidence_logits[:, : len(self.label_space)])

    def label_tokens(self, evidence_logits: Tensor, known: Tensor | None) -> Tensor:
        count = len(self.label_space)
        tokens = super().label_tokens(evidence_logits[:, :count], known)
        return torch.cat([tokens, self.projection(evidence_logits[:, count:]).unsqueeze(1)], dim=1)

    def decode(self, features: Tensor, known: Tensor | None = None) -> ModelOutput:
        """Evidence and image (B, L + C) to logits (B, L)."""
        count = len(self.label_space)
        tokens = self.label_tokens(features, known)
        for layer in self.encoder:
            tokens = layer(tokens)
        correction = torch.einsum("bld,ld->bl", self.norm(tokens[:, :count]), self.correction_weight)
        return ModelOutput(self.gain * features[:, :count] + correction + self.cooccurrence(known))


def pooled(features: RememberedFeatures, heads: Heads, view: int = 0) -> Tensor:
    """The mean of the standardised map of every image, (N, C)."""
    rows = features.rows
    parts = [features.maps(rows[i : i + 64], view)[-1].float().mean((2, 3)) for i in range(0, len(rows), 64)]
    return (torch.cat(parts) - heads.mean) / heads.deviation


@torch.no_grad()
def of_heads(features: RememberedFeatures, heads: Heads, view: int = 0, seen_only: bool = False) -> Tensor:
    """The mean logits of all heads, or of those that have seen an image, (N, L)."""
    logits = []
    for start in range(0, len(features.rows), 64):
        rows = features.rows[start : start + 64]
        of_all = heads.logits(features.maps(rows, view)[-1])[:, 0]  # (B, K, L)
        seen = heads.sees(torch.tensor(rows)).unsqueeze(2).float() if seen_only else torch.ones_like(of_all[..., :1])
        logits.append((of_all * seen).sum(1) / seen.sum(1))
    return torch.cat(logits)


def row(
    data: Sequence[MultiLabelDataset],
    features: Sequence[RememberedFeatures],
    backbone: Backbone,
    seed: int,
    folds: int = 8,
    in_fold: bool = False,
    image: bool = False,
    align: bool = True,
    share: float = 1.0,
    min_unknown: float = 0.5,
    weight: float = 0.5,
    epochs: int = 20,
    lr: float = 2e-3,
    **options: Any,
) -> dict[str, Any]:
    """The figures of one row."""
    (train, test), (train_features, test_features) = data, features
    fold_of = draw_folds(train, folds, seed)
    heads = fit_heads(train_features, train.labels, fold_of, [HeadSetting(weight, 0.05)], HeadTraining(seed=seed))
    torch.manual_seed(seed)
    model = (EvidenceWithImage if image else Evidence)(train.label_space, backbone, ensemble=folds, **options)
    model.start_from_frequencies(train.frequencies)
    each = range(min(2, len(train_features.views)))
    if in_fold:
        logits = torch.stack([of_heads(train_features, heads, view, seen_only=True) for view in each])
    else:
        logits = torch.stack([out_of_fold(heads, train_features, view)[0] for view in each])
    new = of_heads(test_features, heads)
    head = mean(new, test.labels, test)
    began = time.monotonic()
    if model.present_effect is not None:
        training = CooccurrenceTraining(min_unknown=min_unknown, seed=seed)
        apart = fold_of % TRIED == 0
        deviations = StageSettings().deviations
        if deviation := choose_deviation(model, logits, train.labels, apart, deviations, training):
            fit_cooccurrence(model, logits, train.labels, deviation, training)
    if align:
        logits = aligned(logits, fold_of)
    if image:
        logits = torch.cat([logits, torch.stack([pooled(train_features, heads, view) for view in each])], dim=2)
        new = torch.cat([new, pooled(test_features, heads)], dim=1)
    if len(model.encoder):
        fit_evidence(model, logits, train.labels, EvidenceTraining(epochs, 32, lr, 0.05, min_unknown, seed=seed))
        model.weaken_correction(share)
    curve = [mean(z, y, test) for z, y in known_curve(model, new, test.labels, test.ids)]
    nothing = mean(decoded(model, new), test.labels, test)
    known, scored = draw_known(test.labels, draw_order(test.ids, test.label_space), 0.25, "fixed")
    wrong = mean(decoded(model, new, one_wrong(known, seed)), scored, test)
    return {"head": head, "nothing known": nothing, "curve": curve, "wrong": wrong, "seconds": time.monotonic() - began}


def one_wrong(known: Tensor, seed: int) -> Tensor:
    """Known labels int8 (N, L) with one of each row turned from present to absent, or from absent to present.

    >>> one_wrong(torch.tensor([[1, -1], [-1, 0]], dtype=torch.int8), seed=0).tolist()
    [[0, -1], [-1, 1]]
    """
    drawn = torch.rand(known.shape, generator=torch.Generator().manual_seed(seed))
    column = drawn.masked_fill(known == UNKNOWN, -1).argmax(1, keepdim=True)
    answer = known.gather(1, column)
    return known.scatter(1, column, torch.where(answer == UNKNOWN, answer, 1 - answer))


def mean(logits: Tensor, labels: Tensor, test: MultiLabelDataset) -> float:
    """mAP of the labels with at least 10 positives in the test split, in %."""
    columns = test.label_rows.count(PRESENT) >= FEW
    return 100 * mean_average_precision(logits[:, columns], labels[:, columns])


def main() -> None:
    """Measure the rows that are missing, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", default=";".join(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--weight", type=float, default=0.5, help="of the maximum in the heads")
    parser.add_argument("--test", action="store_true", help="score on the test split")
    arguments = parser.parse_args()
    file = arguments.out / "evidence.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    backbone = create_backbone(NETWORK, weights=arguments.weights, image_size=arguments.size)
    preprocessing = Preprocessing(arguments.size, "squash", backbone.mean, backbone.std)
    train = load_dataset(arguments.spec, "train")
    if arguments.test:
        data = [train, with_labels_of(train, load_dataset(arguments.spec, "test"), arguments.spec)]
    else:
        held_out = draw_folds(train, count=5, seed=1) == 0
        data = [train.subset(part.nonzero().flatten().tolist()) for part in (~held_out, held_out)]
    test_features = remember_features(backbone, data[1], preprocessing)
    for seed in arguments.seeds.split(","):
        for name in arguments.rows.split(";"):
            done = results.setdefault(name, {})
            if seed not in done:
                options = {"weight": arguments.weight, **ROWS[name]}
                views = view_names(options.pop("views", 2))
                features = remember_features(backbone, data[0], preprocessing, views)
                done[seed] = row(data, (features, test_features), backbone, int(seed), **options)
                write_json(file, results)
                print(name, seed, done[seed], flush=True)
    print("| | seeds | head | nothing known | 0 % | 25 % | 50 % | 75 % known | 25 %, one wrong |")
    print("|---" * 9 + "|")
    for name, of_seeds in results.items():
        columns = [[r["head"], r["nothing known"], *r["curve"], r["wrong"]] for r in of_seeds.values()]
        cells = []
        for values in zip(*columns, strict=True):
            deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.1f}{deviation}")
        print(f"| {name} | {len(columns)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
