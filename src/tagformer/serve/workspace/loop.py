"""Train again: on the answers, in a process of its own, from the model in use; then the two are compared."""

from __future__ import annotations

import logging
import re
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagformer.errors import TagformerError
from tagformer.files import atomic_write, read_json, write_json
from tagformer.labels.space import ABSENT, PRESENT, UNKNOWN
from tagformer.runs.run import RECIPE, Run
from tagformer.serve.hooks import AnnotationEvent
from tagformer.serve.label_studio.fetching import file_names
from tagformer.serve.workspace.comparing import Verdict, answer_rows, compare_taggers
from tagformer.serve.workspace.pictures import LARGEST
from tagformer.serve.workspace.retraining import Answered, kept_apart, own_rows, retraining_recipe, write_data
from tagformer.serve.workspace.workspace import Workspace
from tagformer.tagging.tagger import Tagger

MINUTES = 2.0  # of a training that nobody gave a time
LEAST = 10  # answered images
MOST_OWN = 4  # of the run's own training images are trained on for each answered one
FRAME = " \n╭╮╰╯│─"  # around some messages
LINES = 400  # of the training's output that are kept
STOPPING = 20.0  # seconds for a training to write its checkpoint
IN_USE = "in_use.json"
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts this before the names of uploaded files
log = logging.getLogger(__name__)


@dataclass
class Training:
    """A training that runs, or is over.

    Attributes:
        folder: with its data and its run.
        minutes: that it was given.
        status: running, compared, failed or stopped.
        process: that trains; None before it is started.
        lines: the end of its output.
        began: when, `time.monotonic`.
        error: why it failed.
        verdict: the comparison.
        images: the answered images that were kept apart, and their answers.
    """

    folder: Path
    minutes: float
    status: str = "running"
    process: subprocess.Popen[str] | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    began: float = field(default_factory=time.monotonic)
    error: str = ""
    verdict: Verdict | None = None
    images: list[Answered] = field(default_factory=list)


class Loop:
    """The trainings of one workspace, one at a time.

    Args:
        workspace: whose answers are trained on, and whose engine gets the new model.
        run: the run that is in use.
        folder: where trainings are kept.

    Attributes:
        passed_over: annotations of Label Studio on other images.
    """

    def __init__(self, workspace: Workspace, run: Path, folder: Path) -> None:
        self.workspace, self.run, self.folder = workspace, run, folder
        self.training: Training | None = None
        self._lock = threading.Lock()
        self._closing = False
        self.passed_over = 0

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        why = self._why_not()
        training = self.training
        if training is None:
            return {"status": "idle", "can_start": not why, "why": why}
        elapsed = time.monotonic() - training.began
        return {
            "status": training.status,
            "can_start": not why,
            "why": why,
            "share": min(0.98, elapsed / (60 * training.minutes + 20)),
            "title": training.lines[-1] if training.lines else "",
            "lines": list(training.lines),
            "error": training.error,
            "comparison": None if training.verdict is None else training.verdict.to_dict(),
        }

    def start(self, minutes: float) -> None:
        """Begin a training in the background.

        Raises:
            TagformerError: one runs already, or there are too few answers.
            CannotWriteError: the folder cannot be written.
        """
        with self._lock:
            if self.training is not None and self.training.status == "running":
                raise TagformerError("a training runs already: stop it first.")
            if why := self._why_not():
                raise TagformerError(why)
            numbers = [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
            training = Training(self.folder / str(max(numbers, default=0) + 1), minutes)
            self._write_data(training)
            self.training = training
        threading.Thread(target=self._work, args=(training,), name="tagformer-training", daemon=True).start()

    def stop(self) -> None:
        """Stop the training that runs, if one does."""
        training = self.training
        if training is not None and training.status == "running":
            training.status = "stopped"
            if training.process is not None:
                training.process.terminate()
                try:
                    training.process.wait(STOPPING)
                except subprocess.TimeoutExpired:
                    training.process.kill()

    def take(self) -> None:
        """Use the new model from now on, also after a restart.

        Raises:
            TagformerError: there is no new model.
        """
        training = self.training
        if training is None or training.status != "compared":
            raise TagformerError("there is no new model to use: train again first.")
        self.run = training.folder / "run"
        self.workspace.engine.replace_model(Tagger.load(self.run))
        self.workspace.looking.restart()
        write_json(self.folder / IN_USE, {"run": str(self.run.resolve())})
        self.training = None

    def leave(self) -> None:
        """Go on with the model in use; the new one stays in its folder."""
        if self.training is not None and self.training.status != "running":
            self.training = None

    def close(self) -> None:
        """Stop what runs, and close the answers."""
        self._closing = True
        self.stop()
        self.workspace.close()

    def start_training(self, project: str) -> None:
        """Label Studio asks for a training; see `LoopHooks`."""
        self.start(MINUTES)

    def annotation_changed(self, event: AnnotationEvent) -> None:
        """An annotation in Label Studio: an answer, where its image is one of the page's, by the name of the file."""
        found = self._image_named(event.image or "")
        if found is None:
            self.passed_over += 1
            log.warning(
                "an annotation of Label Studio is on '%s', which is no image of the page: it is not kept (%d so far). "
                "Name the folder of the images with --images.",
                event.image,
                self.passed_over,
            )
            return
        states = dict(event.states)
        if self.workspace.tree is not None:  # a parent that was not chosen, but its child was, is not absent
            implied = self.workspace.tree.implied({label: 1 for label, state in states.items() if state == PRESENT})
            states.update({label: state for label, state in implied.items() if states.get(label) == ABSENT})
        before = self.workspace.store.states(self.workspace.image(found))
        names = {label: number for number, label in enumerate(self.workspace.names)}
        cells = [
            (found, names[label], state)
            for label, state in states.items()
            if label in names and (state != UNKNOWN or label in before)
        ]
        if cells and event.action != "ANNOTATION_DELETED":
            self.workspace.answer(f"Label Studio {event.project}", cells, secrets.token_hex(16))

    def _image_named(self, address: str) -> int | None:
        """The only image of the page with the file name of an address, without the digits of an upload before it."""
        for name in file_names(address):
            for wanted in (name, UPLOADED.sub("", name)):
                found = [number for number, image in enumerate(self.workspace.pictures) if image.name == wanted]
                if found:
                    return found[0] if len(found) == 1 else None
        return None

    def _answered(self) -> list[Answered]:
        """The answered images, with answers on labels of the model."""
        names = self.workspace.names
        pictures = self.workspace.pictures
        states = sorted(self.workspace.states().items())
        return [(pictures[image], {names[label]: state for label, state in known.items()}) for image, known in states]

    def _why_not(self) -> str:
        count = len(self.workspace.states())
        if count < LEAST:
            return f"Answer labels on at least {LEAST} images first; there are {count}."
        return ""

    def _write_data(self, training: Training) -> None:
        """Write the answers as training data, and a recipe that goes on from the model in use."""
        apart, others = kept_apart(self._answered())
        training.images = apart
        data = training.folder / "data"
        run = Run.load(self.run)
        rows = {"train": self._rows(others, data), "val": self._rows(apart, data)}
        own, sentence = own_rows(run, {path for of_split in rows.values() for path in of_split}, MOST_OWN * len(others))
        training.lines.append(sentence)
        write_data(data, run.label_space, {**rows, "train": {**own, **rows["train"]}})
        retraining_recipe(run.recipe, data, self.run).save(training.folder / RECIPE)

    def _rows(self, pairs: Sequence[Answered], data: Path) -> dict[str, Mapping[str, int]]:
        """The answers on each image by its path; images that are no files are written."""
        rows: dict[str, Mapping[str, int]] = {}
        for image, known in pairs:
            path = image.source
            if not isinstance(path, Path):
                number = self.workspace.pictures.number(image.id)
                assert number is not None
                path = data / "images" / f"{number}.jpg"
                with atomic_write(path) as temporary:
                    temporary.write_bytes(self.workspace.pictures.jpeg(number, LARGEST))
            rows[str(path.resolve())] = known
        return rows

    def _work(self, training: Training) -> None:
        """Train and compare; whatever goes wrong is shown on the page."""
        try:
            self._train(training)
            if training.status == "running":
                training.lines.append("Comparing the two models")
                images = [image.source for image, _ in training.images]
                before = Tagger.load(self.run)
                labels = answer_rows([states for _, states in training.images], before.label_space)
                training.verdict = compare_taggers(before, Tagger.load(training.folder / "run"), images, labels)
                training.status = "compared"
        except TagformerError as error:
            training.status, training.error = "failed", str(error)
        except Exception:
            log.exception("the training failed")
            training.status, training.error = "failed", "the training failed: the log of the server says why."

    def _train(self, training: Training) -> None:
        command = [
            *(sys.executable, "-m", "tagformer", "train", "--recipe", str(training.folder / RECIPE)),
            *("--minutes", f"{training.minutes:g}", "--on-bad-image", "skip", "--out", str(training.folder / "run")),
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        training.process = process
        if self._closing or training.status != "running":
            process.terminate()
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.strip(FRAME):
                training.lines.append(text)
        code = process.wait()
        if code and training.status == "running":
            last = training.lines[-1] if training.lines else f"exit code {code}"
            raise TagformerError(f"the training ended early: {last}")


def run_in_use(run: Path, folder: Path) -> Path:
    """The run that was taken into use last in this folder of trainings, or the first one.

    Raises:
        TagformerError: the file that names it is damaged.
    """
    file = folder / IN_USE
    if not file.is_file():
        return run
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("run"), str):
        raise TagformerError(f"{file} is damaged: remove it to go on with {run}.")
    return Path(content["run"])
