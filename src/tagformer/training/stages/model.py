"""The model of a run in stages, and how it lies in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.sampler import derive_seed
from tagformer.errors import TagformerError
from tagformer.features.encoding import encoded_batches
from tagformer.images.preprocessing import Preprocessing
from tagformer.models.base import MultiLabelModel
from tagformer.models.evidence import Evidence
from tagformer.recipes.settings import StageSettings
from tagformer.runs.run import RECIPE, Run, model_from_recipe, write_weights
from tagformer.training.build import build_model, complete_settings
from tagformer.training.prepare import Prepared, Reporter, save_settings
from tagformer.training.stages.files import StageFiles
from tagformer.training.stages.heads import Heads

NETWORK = ("backbone.", "standardised.", "classifier_")  # weights of the model csra


class StagedRun:
    """The run folder and the model of a training in stages.

    Args:
        prepared: the settings and the data.
        reporter: where to report progress.

    Attributes:
        model: the run's model as far as it is trained.
        files: what the stages need to go on.

    Raises:
        TagformerError: another model than ``evidence``, or a resumed run with other data.
    """

    def __init__(self, prepared: Prepared, reporter: Reporter) -> None:
        self.prepared, self.recipe = prepared, prepared.recipe
        torch.manual_seed(derive_seed(self.seed, "weights"))
        model = build_model(prepared, reporter)
        if not isinstance(model, Evidence):
            raise TagformerError(
                f"training in stages needs the model evidence, not {self.recipe.model.name}: "
                "train it at once (--set stages=null)."
            )
        self.model = model
        complete_settings(prepared, model, reporter)
        save_settings(prepared)
        self.files = StageFiles(prepared.folder)

    @property
    def settings(self) -> StageSettings:
        """The recipe's section ``stages``."""
        assert self.recipe.stages is not None
        return self.recipe.stages

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe.training.seed

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the network's input."""
        return self.recipe.image.preprocessing(self.model.backbone)

    def load(self) -> None:
        """Go on with the model that the run folder has."""
        run = Run.load(self.prepared.folder)
        state = run.state()
        self.recipe.model.options.update(run.recipe.model.options)
        self.recipe.model.options["ensemble"] = len(state["classifier_weight"])  # the weights are written last
        self.model = self.model_with(self.recipe.model.options)
        self.model.load_state_dict(state)
        self.model.eval()

    def save(self) -> None:
        """Write the model as it is now to the run folder."""
        self.recipe.save(self.prepared.folder / RECIPE)
        write_weights(self.prepared.folder, self.model.state_dict())

    def model_with(self, options: dict[str, object]) -> Evidence:
        """A model with other options; its first weights depend on the seed alone."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        recipe = self.recipe.model_copy(deep=True)
        recipe.model.options = options
        model = model_from_recipe(recipe, self.prepared.train.label_space, load_weights=False)
        assert isinstance(model, Evidence)
        return model

    def use_heads(self, heads: Heads) -> None:
        """Give the model all heads of the only setting, and no correction of them."""
        state = heads.state(0, range(len(heads.seen)))
        options = {"weight": heads.settings[0].weight, "ensemble": len(state["classifier_weight"])}
        self.recipe.model.options.update(options)
        self.model = self.with_new_encoder(self.recipe.model.options, state)
        self.save()

    def network_with(self, heads: Sequence[int]) -> dict[str, Tensor]:
        """The network's weights with some of the heads, by their names in the model ``csra``."""
        state = {**self.model.state_dict(), **self.files.head_state(heads, merged=not self.model.weight)}
        return {name: value for name, value in state.items() if name.startswith(NETWORK)}

    def use_network(self, state: dict[str, Tensor], scale: float) -> None:
        """Give the model another network, and its evidence a scale."""
        before, self.recipe.model.options["ensemble"] = self.model.state_dict(), len(state["classifier_weight"])
        self.model = self.model_with(self.recipe.model.options)
        self.model.load_state_dict({**before, **state})
        self.model.evidence_scale.fill_(scale)
        self.model.eval()
        self.save()

    def with_new_encoder(self, options: dict[str, object], head: Mapping[str, Tensor] | None = None) -> Evidence:
        """The model with an encoder that corrects nothing, and with another head, if there is one."""
        model = self.model_with(options)
        state = {**self.model.state_dict(), **(head or {})}
        network = {name: value for name, value in state.items() if name.startswith(NETWORK)}
        model.load_state_dict({**model.state_dict(), **network})
        model.prior_logits.copy_(torch.logit(self.prepared.train.frequencies))
        return model.eval()

    @torch.inference_mode()
    def encode(self, model: MultiLabelModel, dataset: MultiLabelDataset) -> Tensor:
        """The model's features of all images, (N, ...)."""
        data = self.recipe.data
        options = {"workers": data.workers, "on_bad_image": data.on_bad_image}
        batches = encoded_batches(model, dataset, self.preprocessing, **options)  # type: ignore[arg-type]
        return torch.cat([features.cpu() for _, features in batches if features is not None])
