from __future__ import annotations

import torch

from tagformer.report import co_occurrence, confusions, worst_images


def test_confusions_count_labels_predicted_where_they_are_absent_and_another_is_present() -> None:
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, -1]], dtype=torch.int8)
    predicted = torch.tensor([[0, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    (confusion,) = confusions(predicted, labels)
    assert (confusion.predicted, confusion.present, confusion.images, confusion.missed) == (1, 0, 2, 1)
    assert confusion.share == 1.0  # of the two images with label 0 and without label 1


def test_co_occurrence_is_the_share_of_the_rows_images() -> None:
    states = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    assert co_occurrence(states).tolist() == [[1, 0.5, 0], [1, 1, 0], [0, 0, 0]]


def test_the_worst_images_are_the_most_confident_wrong_ones() -> None:
    probabilities = torch.tensor([[0.9], [0.1], [0.7], [0.2], [0.99]])
    labels = torch.tensor([[0], [1], [0], [1], [-1]], dtype=torch.int8)
    mistakes = worst_images(probabilities, labels, 0, count=3)
    assert (mistakes.absent, mistakes.present) == ((0, 2), (1, 3))
