"""The version of a model: other weights, thresholds or labels give another one."""

from __future__ import annotations

import hashlib
import json

from tagformer.runs.integrity import weights_digest
from tagformer.tagging.encoded import EncodedTagger


def model_version(tagger: EncodedTagger) -> str:
    """A hash of all that the tags of an image depend on: weights, labels, thresholds, temperature and preprocessing.

    >>> import tagformer, torch
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.serve.version import model_version
    >>> model = tagformer.create_model("linear", ["boat", "dog"], "tiny")
    >>> tagger = tagformer.Tagger(model, Preprocessing(size=32), torch.tensor([0.5, 0.5]))
    >>> before = model_version(tagger)
    >>> tagger.thresholds = torch.tensor([0.5, 0.6])
    >>> len(before), model_version(tagger) == before
    (16, False)
    """
    settings = tagger.preprocessing
    content = {
        "model": type(tagger.model).__name__,
        "weights": weights_digest({name: value.cpu() for name, value in tagger.model.state_dict().items()}),
        "labels": tagger.label_space.to_dict(),
        "thresholds": tagger.thresholds.tolist(),
        "temperature": tagger.temperature,
        "preprocessing": [settings.size, settings.resize, list(settings.mean), list(settings.std)],
    }
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()
