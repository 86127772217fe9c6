"""Where a run in stages remembers features: with all others, or in its own folder until its heads are trained."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tagformer.errors import DoesNotFitError
from tagformer.features.store import FeatureStore
from tagformer.training.stages.files import STAGES

FEATURES = "features"  # the folder in the run's folder of stages

Result = TypeVar("Result")


class FeatureRoom:
    """The store of a run: the shared one, or one in the run folder where the shared one has no room.

    Heads are trained on remembered features, so a run in stages needs them even if nothing may be remembered.

    Args:
        run: the run folder.
        cache_gb: the bound of the shared store in 10^9 bytes; 0: the features go into the run folder.
        message: called with lines of text.

    Attributes:
        store: where features are remembered.

    >>> FeatureRoom(Path("runs/mine"), cache_gb=0).store.folder.parts[-2:]
    ('stages', 'features')
    """

    def __init__(self, run: Path, cache_gb: float, message: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.message = run / STAGES / FEATURES, message
        self._own = FeatureStore(self.folder, limit_gb=math.inf, message=message)
        self.store = FeatureStore(limit_gb=cache_gb, message=message) if cache_gb else self._own
        self.remove()  # what a killed process left

    def use(self, work: Callable[[FeatureStore], Result]) -> Result:
        """The result of some work with the store; where the features do not fit into it, with one in the run folder.

        Raises:
            DoesNotFitError: they do not fit there either.
        """
        try:
            return work(self.store)
        except DoesNotFitError as error:
            if self.store is self._own:
                raise
            self.message(f"The features are kept in {self.folder} until the head is trained: {error}")
            self.store = self._own
            return work(self.store)

    def remove(self) -> None:
        """Remove the features from the run folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
