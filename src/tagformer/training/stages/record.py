"""What each stage of a run has reached, kept in the run folder as ``stages.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tagformer.errors import TagformerError
from tagformer.files import read_json, write_json

STAGES = "stages.json"


@dataclass
class Stage:
    """A stage's figures on the held-out images.

    Attributes:
        name: ``linear``, ``head``, ``co-occurrence``, ``evidence``, ``network alone``, ``network``.
        mAP: with nothing known.
        curve: mAP of a fixed quarter of the labels with 0, 25, 50 and 75 % of the labels known; empty where known
            labels change nothing.
        seconds: that the stage took.
        kept: whether the run's model has it.

    >>> Stage("head", mAP=0.5, curve=(0.5, 0.7)).score
    0.55
    """

    name: str
    mAP: float  # noqa: N815
    curve: tuple[float, ...] = ()
    seconds: float = 0.0
    kept: bool = True

    @property
    def score(self) -> float:
        """By which stages are compared: the mean of the mAP with nothing known and of the mean over the curve."""
        return (self.mAP + sum(self.curve) / len(self.curve)) / 2 if self.curve else self.mAP

    def is_better_than(self, other: Stage) -> bool:
        """Whether its score is higher, and its mAP with nothing known is not lower.

        >>> Stage("network", mAP=0.4, curve=(0.9,)).is_better_than(Stage("head", mAP=0.5, curve=(0.7,)))
        False
        """
        return self.score > other.score and self.mAP >= other.mAP


@dataclass
class Record:
    """The stages of a run that are done, in order.

    Attributes:
        folder: the run folder.
        stages: in the order in which they were done.

    >>> record = Record.load(Path("runs/mine"))
    >>> record.add(Stage("head", mAP=0.5))
    >>> "head" in Record.load(Path("runs/mine")), record["head"].mAP
    (True, 0.5)
    """

    folder: Path
    stages: list[Stage] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Read the record of a run folder; empty where there is none.

        Raises:
            TagformerError: the file is damaged.
        """
        file = folder / STAGES
        if not file.is_file():
            return cls(folder)
        try:
            return cls(folder, TypeAdapter(list[Stage]).validate_python(read_json(file)))
        except ValidationError as error:
            raise TagformerError(f"{file} is not a record of stages: delete it and train again.") from error

    def __getitem__(self, name: str) -> Stage:
        return {stage.name: stage for stage in self.stages}[name]

    def __contains__(self, name: str) -> bool:
        return any(stage.name == name for stage in self.stages)

    def keeps(self, name: str) -> bool:
        """Whether the run's model has this stage."""
        return any(stage.name == name and stage.kept for stage in self.stages)

    @property
    def last_kept(self) -> Stage:
        """The last stage that the run's model has."""
        return [stage for stage in self.stages if stage.kept][-1]

    @property
    def backbone_is_untrained(self) -> bool:
        """Whether there are stages, and the last of them, in which the whole network is trained, was not kept."""
        return bool(self.stages) and not self.keeps("network")

    def add(self, stage: Stage) -> None:
        """Add a stage, which replaces an earlier one of its name, and write the file."""
        self.stages = [other for other in self.stages if other.name != stage.name] + [stage]
        write_json(self.folder / STAGES, [asdict(stage) for stage in self.stages])
