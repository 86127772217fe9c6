from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser

from tagformer.evaluation.options import EvaluationOptions
from tagformer.evaluation.run_evaluation import evaluate_run, load_split
from tagformer.runs.run import Run, write_labels
from tests.helpers import CommandLine

SECTIONS = (
    "scores",
    "labels",
    "precision-recall",
    "calibration",
    "confusions",
    "co-occurrence",
    "sizes",
    "known",
    "training",
    "mistakes",
)


@pytest.fixture
def reported(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> Path:
    """A copy of the small run, with its report and tables."""
    run = tmp_path / "small run"
    shutil.copytree(small_run, run)
    code, _, error = tagformer("report", run, "--tables", tmp_path / "tables", "--resamples", "20", "--workers", "0")
    assert (code, "Traceback" in error) == (0, False)
    return run


def page_of(browser: Browser, report: Path, width: int) -> tuple[Any, list[str]]:
    """The opened page, and its errors, warnings and requests to other places."""
    trouble: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else trouble.append(request.url)
    )
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    page.goto(report.as_uri(), wait_until="load")
    return page, trouble


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_opens_without_an_error_or_a_request_and_has_every_section(
    browser: Browser, reported: Path, width: int
) -> None:
    page, trouble = page_of(browser, reported / "report.html", width)
    assert trouble == []
    for section in SECTIONS:
        assert page.locator(f"section#{section} h2").is_visible(), section
        assert page.locator(f"nav a[href='#{section}']").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    for chart in ("precision-recall", "calibration", "co-occurrence", "known", "training"):
        box = page.locator(f"#{chart} svg").first.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["height"] > 80
    pictures = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
    assert len(pictures) > 12 * 4
    assert all(complete and size == 132 for complete, size in pictures)
    page.close()


def test_the_reports_figures_are_those_of_evaluate(
    browser: Browser, reported: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    code, _, _ = tagformer("evaluate", reported, "--known-share", "0,25,50,75", "--out", tmp_path / "metrics.json")
    assert code == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    page, _ = page_of(browser, reported / "report.html", 1280)
    assert page.locator(".card b").first.inner_text() == f"{100 * figures['mAP']:.1f}"
    header = [cell.inner_text() for cell in page.locator("#scores th").all()]
    rows = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("#scores tbody tr").all()]
    for row, suffix in zip(rows, ("", "_top3", "_top3_above"), strict=True):
        for name, cell in zip(header[2:], row[2:], strict=True):
            assert cell == f"{100 * figures[name.replace('-', '_') + suffix]:.1f}"
    labels = {
        row.locator("td").nth(0).inner_text(): row.locator("td.bar span").inner_text()
        for row in page.locator("#labels tbody tr").all()
    }
    assert labels == {name: f"{100 * value:.1f}" for name, value in figures["average_precision"].items()}
    assert [float(value) for value in labels.values()] == sorted(map(float, labels.values()), reverse=True)
    curve = [cell.inner_text() for cell in page.locator("#known td").all()][1:]
    assert curve == [f"{100 * point['mAP']:.1f}" for point in figures["known"]["curve"]]
    sizes = [row.locator("td").nth(2).inner_text() for row in page.locator("#sizes tbody tr").all()]
    assert sizes == [f"{100 * value:.1f}" for value in figures["mAP_by_size"].values()]
    page.close()
    with (tmp_path / "tables" / "scores.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert float(written[0]["mAP"]) == pytest.approx(figures["mAP"])
    assert (written[1]["mAP"], float(written[1]["OF1"])) == ("", pytest.approx(figures["OF1_top3"]))


def test_a_tuned_runs_report_uses_its_thresholds_and_says_so(
    browser: Browser, reported: Path, tagformer: CommandLine
) -> None:
    run = Run.load(reported)
    write_labels(reported, run.label_space, torch.full((len(run.label_space),), 0.2), temperature=1.5)
    code, _, _ = tagformer("report", reported, "--resamples", "20", "--labels", "1")
    assert code == 0
    page, trouble = page_of(browser, reported / "report.html", 1280)
    assert trouble == []
    assert page.locator("#scores tbody tr").last.locator("td").first.inner_text() == "all, tuned thresholds"
    assert {row.locator("td").last.inner_text() for row in page.locator("#labels tbody tr").all()} == {"0.20"}
    assert "at temperature 1.50" in page.locator("#calibration").inner_text()
    assert page.locator("#mistakes h3").count() == 1
    page.close()


def test_a_report_of_a_model_without_known_labels_on_data_without_sizes(
    browser: Browser, small_recipe: Callable[..., Any], tmp_path: Path, tagformer: CommandLine
) -> None:
    from tagformer.training.fitting import fit
    from tests.helpers import write_folder

    table = write_folder(tmp_path / "data", 30)
    fit(small_recipe(f"data.spec=csv:{table}", "model.name=linear", "model.options={}"), tmp_path / "<b>run")
    code, _, error = tagformer("report", tmp_path / "<b>run", "--resamples", "20", "--split", "all", "--workers", "0")
    assert (code, "Traceback" in error) == (0, False)
    page, trouble = page_of(browser, tmp_path / "<b>run" / "report.html", 1280)
    assert trouble == []
    assert page.locator("h1").inner_text() == "<b>run"
    assert "does not use known labels" in page.locator("#known").inner_text()
    assert "has no object sizes" in page.locator("#sizes").inner_text()
    page.close()


# Real data


def test_the_report_of_a_real_run_has_evaluates_figures(
    browser: Browser, shared: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    """Frozen ImageNet features and one pass over a few birds: quick, and far from the label frequencies."""
    birds = tmp_path / "birds.csv"
    write_birds(shared / "data" / "cub50", birds)
    run = tmp_path / "birds"
    weights = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    settings = (
        "model.backbone.options.pad_type=same",
        "optimizer.backbone_lr_factor=0",
        "training.epochs=2",
        "image.size=96",
        "data.workers=2",
    )
    options = [part for setting in settings for part in ("--set", setting)]
    data = ("--data", f"csv:{birds}", "--model", "linear", "--backbone", "mobilenetv2_100", "--weights", weights)
    assert tagformer("train", *data, *options, "--out", run)[0] == 0
    figures = json.loads((run / "metrics.json").read_text())
    assert tagformer("report", run, "--resamples", "20")[0] == 0
    page, trouble = page_of(browser, run / "report.html", 1280)
    assert trouble == []
    assert page.locator(".card b").first.inner_text() == f"{100 * figures['mAP']:.1f}"
    assert page.locator("#labels tbody tr").count() == 112
    page.close()


def write_birds(folder: Path, table: Path, every: int = 6) -> None:
    """A CSV of every sixth picture of CUB's first 50 classes with the 112 concepts of its class."""

    def lines(name: str) -> list[list[str]]:
        return [line.split() for line in (folder / name).read_text().splitlines() if line.strip()]

    concepts = [int(line[0]) - 1 for line in lines("attributes/concepts112.txt")]
    names = [line[1] for line in lines("attributes/attributes.txt")]
    shares = [[float(value) for value in row] for row in lines("attributes/class_attribute_labels_continuous.txt")]
    class_of = dict(lines("image_class_labels.txt"))
    training = dict(lines("train_test_split.txt"))
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "split", *(names[i] for i in concepts)])
        for image, path in lines("images.txt")[::every]:
            shared_by_class = shares[int(class_of[image]) - 1]
            present = [int(shared_by_class[i] >= 50) for i in concepts]
            writer.writerow([folder / "images" / path, "train" if training[image] == "1" else "test", *present])


def test_stored_predictions_give_the_same_evaluation_as_a_new_one(reported: Path) -> None:
    run = Run.load(reported)
    data = load_split(run)
    stored = evaluate_run(run, data)
    again = evaluate_run(run, data, EvaluationOptions(workers=0), reuse=False)
    assert torch.equal(stored.logits, again.logits)
    assert (stored.ids, stored.names, stored.regular.mAP) == (again.ids, again.names, again.regular.mAP)
