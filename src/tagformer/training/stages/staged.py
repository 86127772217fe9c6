"""Training in stages: each is kept only if it is better on held-out images, and after each the run is a model."""

from __future__ import annotations

import copy
import math
import time

from torch import Tensor

from tagformer.metrics.calibration import fit_temperature
from tagformer.models.evidence import Evidence
from tagformer.runs.run import RECIPE, Run, default_device
from tagformer.training.stages.calibration import choose_thresholds
from tagformer.training.stages.cooccurrence import TRIED, CooccurrenceTraining, choose_deviation, fit_cooccurrence
from tagformer.training.stages.evidence import EvidenceTraining, aligned, fit_evidence
from tagformer.training.stages.finetune import finetune, moved_alike
from tagformer.training.stages.heldout import decoded
from tagformer.training.stages.record import Stage
from tagformer.training.stages.staged_heads import HELD_OUT, StagedHeads
from tagformer.training.time_plan import SPARE, set_epochs

SCALES = (1.0, 0.85, 0.7, 0.6, 0.5)  # of the evidence of a network that was trained further
SHARES = (1.0, 0.5, 0.25)  # of the correction of a trained encoder


class StagedTraining(StagedHeads):
    """The stages of one run, in the order in which they are called; see `StagedHeads`."""

    def train_cooccurrence(self) -> None:
        """The second stage: by how much known labels move the others. With nothing known it changes nothing.

        A stage that is in the record is not repeated; that holds for all. In runs of older versions the encoder may be
        trained already, and the co-occurrence with it.
        """
        settings, options = self.settings, self.recipe.model.options
        if "co-occurrence" in self.record or "evidence" in self.record:
            return
        if not settings.deviations or not self.model.effects or not self._masking:
            return
        began, model = time.monotonic(), self.with_new_encoder(options)
        training = CooccurrenceTraining(
            min_unknown=self.recipe.known.min_unknown,
            masking=self._masking,
            strength=settings.cooccurrence,
            seed=self.seed,
        )
        folds, labels, logits = self.folds[self.rows], self.labels[self.rows], self._evidence_logits
        others, tried = folds != HELD_OUT, len(settings.deviations) * training.steps
        with self.reporter.bar("Training on co-occurrence", tried + 2 * training.steps) as bar:
            apart = folds % TRIED == HELD_OUT
            deviation = choose_deviation(model, logits, labels, apart, settings.deviations, training, bar)
            if deviation is not None:
                fit_cooccurrence(
                    model, logits[:, others], labels[others], deviation, training, lambda step: bar(tried + step)
                )
            stage = self.held_out.of_model("co-occurrence", model, logits[0, ~others])
            stage.kept = deviation is not None
            if deviation is not None:
                self.model = self.with_new_encoder(options)
                done = tried + training.steps
                fit_cooccurrence(self.model, logits, labels, deviation, training, lambda step: bar(done + step))
                self.files.write_cooccurrence(self.model, model)
                self.files.write_encoder(model)
        stage.seconds = time.monotonic() - began
        self.save()
        self.record.add(stage)

    def train_encoder(self) -> None:
        """The third stage: C-Tran's encoder on out-of-fold evidence, in which labels that are not known act, too.

        With few images it learns what holds for them alone, and it is not even tried. Without layers only what each
        label has for itself is trained, the gain and the offset of its evidence.
        """
        settings, options = self.settings, self.recipe.model.options
        if "evidence" in self.record:
            return
        if not settings.evidence_epochs or len(self.rows) < settings.encoder_images:
            self._leave_encoder()
            self.save()
            return
        began = time.monotonic()
        training = EvidenceTraining(
            epochs=settings.evidence_epochs,
            lr=settings.evidence_lr,
            min_unknown=self.recipe.known.min_unknown,
            masking=self._masking,
            seed=self.seed,
            cooccurrence=bool(self.files.cooccurrence(unseen=False)),
        )
        folds, labels, logits = self.folds[self.rows], self.labels[self.rows], self._evidence_logits
        others, even = folds != HELD_OUT, aligned(logits, folds)
        first, second = training.steps(int(others.sum())), training.steps(len(labels))
        with self.reporter.bar("Training on evidence", first + second) as bar:
            model = self._with_cooccurrence(options, unseen=True)
            fit_evidence(model, even[:, others], labels[others], training, bar)
            share, stage = self._best_share(model, logits[0, ~others])
            stage.kept = stage.is_better_than(self.record.last_kept)
            if stage.kept:
                self.files.write_encoder(model)
                self.model = self._with_cooccurrence(options)
                fit_evidence(self.model, even, labels, training, lambda step: bar(first + step))
                self.model.weaken_correction(share)
        if not stage.kept:
            self._leave_encoder()
        stage.seconds = time.monotonic() - began
        self.save()
        self.record.add(stage)

    @property
    def _masking(self) -> tuple[str, ...]:
        """Which labels are known in training; empty where none are to be."""
        known = self.recipe.known
        return known.masking if known.label_mask_training else ()

    @property
    def _evidence_logits(self) -> Tensor:
        """The out-of-fold logits (V, R, L) of the images that could be read."""
        return self.files.evidence_logits()[:, self.rows]

    def _with_cooccurrence(self, options: dict[str, object], unseen: bool = False) -> Evidence:
        """The model with a new encoder, and with the co-occurrence, of all images or of those not held out."""
        model = self.with_new_encoder(options)
        model.load_state_dict({**model.state_dict(), **self.files.cooccurrence(unseen)})
        return model

    def _leave_encoder(self) -> None:
        """Go on with an encoder that changes nothing: labels depend on each other by co-occurrence alone.

        The model's options stay, so that the recipe and the weights fit each other when only one of them is written.
        """
        self.model = self._with_cooccurrence(self.recipe.model.options)
        if "co-occurrence" in self.record:
            self.files.write_encoder(self._with_cooccurrence(self.recipe.model.options, unseen=True))

    def _best_share(self, model: Evidence, evidence_logits: Tensor) -> tuple[float, Stage]:
        """The share of a trained encoder's correction that is best on the held-out images, and its figures.

        The model then has this share of it.
        """
        stages, before = {}, 1.0
        for share in SHARES:
            model.weaken_correction(share / before)
            stages[share], before = self.held_out.of_model("evidence", model, evidence_logits), share
        best = max(SHARES, key=lambda share: (stages[share].is_better_than(self.record.last_kept), stages[share].score))
        model.weaken_correction(best / before)
        return best, stages[best]

    def plan_network(self) -> None:
        """Set the epochs of the last stage to what fits into the time that is left.

        The recipe then has the planned settings and no minutes, so that it repeats the run, and is not planned again
        when the run is resumed.
        """
        minutes = self.settings.minutes
        if minutes is None:
            return
        if self.settings.finetune:
            plan = self._plan(minutes, network_only=True)  # measured again: other work may have ended or begun
            epochs = plan.network(60 * minutes * (1 - SPARE) - (time.monotonic() - self.began))
            self.settings.finetune = epochs is not None
            if epochs is None:
                self.reporter.message("No time is left to train the whole network: give more --minutes.")
            else:
                self.reporter.message(f"Whole network: {epochs}.")
                images = len(self.rows) - len(self.held_out.rows)
                set_epochs(self.recipe, epochs, math.ceil(images / self.recipe.data.batch_size))
        self.settings.minutes = None
        self.recipe.save(self.prepared.folder / RECIPE)

    def train_network(self) -> None:
        """The last stage: the whole network, from heads that have not seen the held-out images.

        It is scored with these heads. If it is better, the run gets it with all heads, each changed as these.
        """
        began = time.monotonic()
        unseen = (~self.seen[:, HELD_OUT]).nonzero().flatten().tolist()
        some, every = (self.network_with(heads) for heads in (unseen, range(len(self.seen))))
        options = {"weight": self.model.weight, "ensemble": len(some["classifier_weight"])}
        state = finetune(self.prepared, self.held_out.rows, some, options, self.reporter)
        model = self.model_with({**self.recipe.model.options, **options})
        model.load_state_dict({**self.model.state_dict(), **state, **self.files.encoder_state()})
        model.evidence_scale.fill_(1.0)
        model.simplify()
        model.to(default_device()).eval()
        evidence_logits = self.encode(model, self.prepared.train.subset(self.held_out.rows.tolist()))
        self.record.add(self.held_out.of_logits("network alone", evidence_logits, kept=False))
        scale, stage = self._best_scale(model, evidence_logits)
        stage.seconds = time.monotonic() - began
        stage.kept = stage.is_better_than(self.record.last_kept)
        if stage.kept:
            self.use_network(moved_alike(every, some, state), scale)
            run = Run.load(self.prepared.folder)  # the thresholds are of calibrated probabilities, so they stay
            temperature = fit_temperature(decoded(model, scale * evidence_logits), self.held_out.labels)
            run.save_thresholds(run.thresholds, temperature)
        self.record.add(stage)

    def _best_scale(self, model: Evidence, evidence_logits: Tensor) -> tuple[float, Stage]:
        """The scale of the trained network's evidence (H, L) that is best on the held-out images, and its figures."""
        stages = {scale: self.held_out.of_model("network", model, scale * evidence_logits) for scale in SCALES}
        best = max(SCALES, key=lambda scale: stages[scale].score)
        return best, stages[best]

    def calibrate(self) -> None:
        """Choose thresholds and temperature on the decoded out-of-fold evidence."""
        model = copy.deepcopy(self.model)
        model.simplify()
        logits = decoded(model, self.files.evidence_logits()[0, self.rows])
        thresholds, temperature = choose_thresholds(logits, self.targets[self.rows])
        Run.load(self.prepared.folder).save_thresholds(thresholds, temperature)
