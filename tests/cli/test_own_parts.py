"""A model, a backbone and a loss of the user, in one file, on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tagformer.recipes import Recipe
from tests.helpers import CommandLine

DATA = "scenes?images=96&faint=0"
PARTS = """
from torch import nn
from torch.nn import functional as F

from tagformer.backbones import Backbone
from tagformer.losses import reduce
from tagformer.models import ModelOutput, MultiLabelModel


class MyBackbone(Backbone):
    channels, strides = (8,), (4,)

    def __init__(self, kernel: int = 4):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, kernel, stride=4)

    def forward(self, images):
        return (self.convolution(images).relu(),)


class MyModel(MultiLabelModel):
    def __init__(self, label_space, backbone, dropout: float = 0.0):
        super().__init__(label_space, backbone)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.channels[-1], len(label_space))

    def encode(self, images):
        return self.backbone(images)[-1].amax(dim=(2, 3))

    def decode(self, features, known=None):
        return ModelOutput(self.classifier(self.dropout(features)))


def my_loss(logits, labels, *, reduction):
    errors = (F.logsigmoid(logits).exp() - labels.float()).square()
    return reduce(errors, labels, reduction)
"""


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    command = [sys.executable, "-m", "tagformer", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_own_parts_train_evaluate_and_predict(tmp_path: Path) -> None:
    (tmp_path / "my_part.py").write_text(PARTS)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "photo.png")
    own = ("--model", "my_part:MyModel", "--backbone", "my_part:MyBackbone", "--set", "loss.name=my_part:my_loss")
    small = ("--set", "training.epochs=1", "--set", "data.workers=0", "--set", "model.options.dropout=0.1")
    trained = run(tmp_path, "train", *own, *small, "--data", DATA, "--out", "run")
    assert trained.returncode == 0, trained.stderr
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["model"]["name"] == "my_part:MyModel"
    assert recipe["model"]["backbone"]["name"] == "my_part:MyBackbone"
    assert recipe["model"]["start_from_frequencies"] is False
    assert recipe["loss"]["name"] == "my_part:my_loss"
    evaluated = run(tmp_path, "evaluate", "run", "--split", "val", "--workers", 0)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "mAP" in evaluated.stdout
    predicted = run(tmp_path, "predict", "run", "photo.png", "--out", "tags.csv")
    assert predicted.returncode == 0, predicted.stderr
    assert "photo.png" in (tmp_path / "tags.csv").read_text()
    elsewhere = run(tmp_path / "run", "evaluate", tmp_path / "run", "--workers", 0)
    assert elsewhere.returncode == 2
    assert "there is no module 'my_part' on the Python path" in elsewhere.stderr
    assert "Traceback" not in elsewhere.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nowhere:Model"), "model 'nowhere:Model': there is no module 'nowhere' on the Python path"),
        (
            ("--model", "parts/my_part.py:Model"),
            "model 'parts/my_part.py:Model' (write 'my_part:Model', and run the comm",
        ),
        (("--model", "random:Random"), "model 'random:Random': 'random' is a module of Python's standard library"),
        (
            ("--model", "linear", "--backbone", "./my_part:Net"),
            "unknown backbone './my_part:Net' (write 'my_part:Net', and run the command in the folder of my_part.py)",
        ),
        (
            ("--model", "linear", "--backbone", "tiny", "--set", "loss.name=my_part.py:loss"),
            "loss 'my_part.py:loss': there is no module 'my_part.py' on the Python path (write 'my_part:loss', and run",
        ),
        (("--model", "tagformer.files:write_json"), "is not a subclass of tagformer.models.base.MultiLabelModel"),
        (("--model", "linear", "--backbone", "nowhere:Net"), "backbone 'nowhere:Net': there is no module 'nowhere'"),
        (("--model", "linear", "--backbone", "tiny", "--set", "loss.name=nowhere:loss"), "loss 'nowhere:loss': there"),
        (("--model", "linear", "--set", "loss.name=blc"), "loss.name: value error, must be bce or asl or softmax, or"),
    ],
)
def test_a_wrong_reference_is_one_sentence(
    tagformer: CommandLine, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    small = ("--set", "training.epochs=1", "--set", "data.workers=0")
    code, _, error = tagformer("train", *arguments, *small, "--data", DATA, "--out", tmp_path / "run")
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_own_parts_are_kept_in_a_recipe() -> None:
    values = {"model": {"name": "a.b:Model", "backbone": {"name": "c:Net"}}, "loss": {"name": "d:loss"}}
    recipe = Recipe.checked(values, "a test").overridden(["loss.reduction=sum"])
    assert (recipe.model.name, recipe.model.backbone.name, recipe.loss.name) == ("a.b:Model", "c:Net", "d:loss")
