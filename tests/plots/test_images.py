"""The grid shows the images that it is given."""

import numpy as np
import pytest

from tabvision.errors import BadValueError
from tabvision.plots import image_grid


def test_a_grid_shows_each_image_under_its_label() -> None:
    images = [np.full((4, 5, 3), value, dtype=np.uint8) for value in range(5)]

    figure = image_grid(images, list("abcde"), columns=2)

    assert [axes.get_title() for axes in figure.axes] == list("abcde")
    assert [int(axes.get_images()[0].get_array().max()) for axes in figure.axes] == list(range(5))  # type: ignore[union-attr]


@pytest.mark.parametrize(("num", "labels"), [(0, []), (2, ["a"])])
def test_a_grid_of_nothing_or_with_too_few_labels_is_a_sentence(num: int, labels: list[str]) -> None:
    with pytest.raises(BadValueError, match="there must be an image, and a label for each or none"):
        image_grid([np.zeros((4, 4, 3), dtype=np.uint8)] * num, labels)
