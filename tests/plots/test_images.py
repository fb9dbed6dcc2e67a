"""The grid shows the images that it is given."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tabvision import interpret
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import Predictor, Results
from tabvision.modules import VisionModule
from tabvision.plots import image_grid, show_results, top_losses
from tabvision.plots.style import COLORS
from tests.made.images import make, write_folder
from tests.made.results import results_of


def test_a_grid_shows_each_image_under_its_label() -> None:
    images = [np.full((4, 5, 3), value, dtype=np.uint8) for value in range(5)]

    figure = image_grid(images, list("abcde"), columns=2)

    assert [axes.get_title() for axes in figure.axes] == list("abcde")
    assert [int(axes.get_images()[0].get_array().max()) for axes in figure.axes] == list(range(5))  # type: ignore[union-attr]


@pytest.mark.parametrize(("num", "labels"), [(0, []), (2, ["a"])])
def test_a_grid_of_nothing_or_with_too_few_labels_is_a_sentence(num: int, labels: list[str]) -> None:
    with pytest.raises(BadValueError, match="images are needed, and a label for each or none at all"):
        image_grid([np.zeros((4, 4, 3), dtype=np.uint8)] * num, labels)


def results_of_photos(folder: Path) -> tuple[Results, VisionModule]:
    """Answers of a network to small images of two classes, one of hostile name."""
    write_folder(folder, {"cat": 3, "<b>$x$ 😀\n": 3}, size=(16, 16))
    torch.manual_seed(0)
    module = VisionModule(make(folder, size=32).schema, body="test_resnet", weights=None, head_widths=[8])
    return Predictor(module, device="cpu").losses(folder), module


def test_the_worst_images_stand_first_with_label_answer_and_loss(tmp_path: Path) -> None:
    results, module = results_of_photos(tmp_path)

    figure = top_losses(results, 4, model=module, columns=2)

    figure.savefig(io.BytesIO(), format="png")
    losses = [float(axes.get_title().splitlines()[2].removeprefix("loss ")) for axes in figure.axes]
    assert losses == pytest.approx(interpret.top_losses(results, 4)["loss"].tolist(), rel=1e-2)
    for axes in figure.axes:
        true, answer, _ = axes.get_title().splitlines()
        assert true.startswith("true: ")
        assert answer.startswith("right: " if axes.title.get_color() == COLORS[2] else "wrong: ")


def test_results_are_shown_in_the_same_draw_each_time(tmp_path: Path) -> None:
    results, _ = results_of_photos(tmp_path)

    titles = [[axes.get_title() for axes in show_results(results, 4, seed=seed).axes] for seed in (0, 0, 1)]

    assert titles[0] == titles[1] != titles[2]
    assert len(show_results(results, 100).axes) == len(results) == 6


def test_a_file_that_is_gone_is_shown_as_text(tmp_path: Path) -> None:
    results, module = results_of_photos(tmp_path)
    for file in tmp_path.rglob("*.jpg"):
        file.unlink()

    figure = top_losses(results, 2, model=module)

    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["no such file"] * 2


@pytest.mark.parametrize("figure", [top_losses, show_results])
def test_a_table_has_no_images_to_show(figure: Callable[..., Figure]) -> None:
    with pytest.raises(BadTypeError, match=r"plots.*: the results have no images"):
        figure(results_of("binary"))
    with pytest.raises(BadValueError, match=r"plots.*: k must be"):
        figure(results_of("binary"), 0)
