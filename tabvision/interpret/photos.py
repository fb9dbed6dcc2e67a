"""Images as the network sees them, with the label, the answer, and where the network looked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, cut
from tabvision.inference import Results
from tabvision.inference.batches import Inputs
from tabvision.interpret.gradcam import gradcam
from tabvision.interpret.rows import Model
from tabvision.interpret.slices import errors_of, four_digits


@final
@dataclass(frozen=True, eq=False)
class Photo:
    """One image of some results.

    Args:
        name: The file name; "" for an image in memory.
        label: The true label or numbers; for points, "left".
        answer: The predicted label or numbers; for points, how many pixels they are off.
        probability: The probability of the predicted class; None for other tasks.
        loss: The loss.
        is_right: Whether the answer equals the label; None for numbers.
        image: (H, W, 3) uint8, as large as the network's input; None if the file cannot be read. A target that lies in the
            image is drawn into it, and the answer into a copy to its right, which makes it twice as wide.
        reason: Why the file cannot be read, else "".
        heat: The map of `gradcam`, (H, W); None without a model.
    """

    name: str
    label: str
    answer: str
    probability: float | None
    loss: float
    is_right: bool | None
    image: NDArray[np.uint8] | None
    reason: str = ""
    heat: NDArray[np.float32] | None = None

    def lines(self, most: int) -> list[str]:
        """Return a caption of three lines, each at most `most` characters: label, answer with probability, and loss.

        Example:
            >>> Photo("a.jpg", "cat", "Old English Sheepdog", 0.9, 2.5, False, None).lines(26)
            ['true: cat', 'wrong: Old English… (0.90)', 'loss 2.5']
        """
        kind = {None: "answer: ", True: "right: ", False: "wrong: "}[self.is_right]
        probability = "" if self.probability is None else f" ({self.probability:.2f})"
        answer = f"{kind}{cut(self.answer, most - len(kind + probability))}{probability}"
        return [f"true: {cut(self.label, most - len('true: '))}", answer, f"loss {self.loss:.3g}"]


def photos_of(results: Results, rows: NDArray[np.integer], model: Model | None = None) -> list[Photo]:
    """Return the images of some rows of results that have files; with a model, also where it looked.

    Raises:
        BadTypeError: The results have no images.
        BadValueError: The network has no spatial map, or predicts several numbers; see `gradcam`.
    """
    some = results.take(rows)
    if some.images is None:
        remedy = "Pass what Predictor.losses gave for images, or Results.of_gathered(..., files=data.files)"
        raise BadTypeError("the results have no images", remedy)
    task, target, errors = results.schema.task, results.schema.target, errors_of(some)
    heats = None if model is None else gradcam(model, Inputs(len(some), images=some.images))
    drawn = _drawn(some)
    labels, answers = task.labels(some.target, target), task.labels(some.decoded, target)
    found = []
    for row, source in enumerate(some.images.sources):
        image, label, answer = drawn.get(row), _text(labels[row]), _text(answers[row])
        if task.moves_with_image:
            label, answer = "on the left", f"on the right, off by {errors[row]:.3g} pixels"
        found.append(
            Photo(
                name=Path(source).name if isinstance(source, str | Path) else "",
                label=label,
                answer=answer,
                probability=float(some.predictions[row, some.decoded[row]]) if some.is_one_class else None,
                loss=float(some.loss[row]),
                is_right=bool(errors[row] == 0) if task.is_classes else None,
                image=image,
                reason="" if image is not None else some.images.errors.get(row, ""),
                heat=None if heats is None or image is None else heats[row],
            )
        )
    return found


def overlaid(photo: Photo) -> NDArray[np.uint8]:
    """Return a photo overlaid with its map: red to yellow where the network looked, paler elsewhere."""
    assert photo.image is not None
    if photo.heat is None:
        return photo.image
    heat, gray = photo.heat[:, :, None], photo.image.mean(axis=2, keepdims=True)
    color = np.concatenate([np.full_like(heat, 255), 255 * heat**2, 40 * heat], axis=2)
    mixed = (1 - 0.6 * heat) * 0.85 * (photo.image + gray) / 2 + 0.6 * heat * color
    found: NDArray[np.uint8] = mixed.clip(0, 255).astype(np.uint8)
    return found


def _drawn(results: Results) -> dict[int, NDArray[np.uint8]]:
    """Return the readable images by row, (H, W, 3), with targets drawn in; if not RGB, only the first channel."""
    assert results.images is not None
    task, target, found = results.schema.task, results.schema.target, dict[int, NDArray[np.uint8]]()
    for arrays in results.images.batches(64):
        for position, row in enumerate(arrays["index"].tolist()):
            image = arrays["image"][position]
            image = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
            found[row] = np.ascontiguousarray(image.transpose(1, 2, 0))
            if "view" in arrays:
                view, both = arrays["view"][position : position + 1], (results.target[row], results.predictions[row])
                encoded = [task.to_view(numbers[None], view, cut=False)[0] for numbers in both]
                found[row] = np.concatenate([task.draw(found[row].copy(), it, target)[0] for it in encoded], axis=1)
    return found


def _text(label: Any) -> str:  # noqa: ANN401 - a label, or several numbers
    """Return a label or several numbers on one line."""
    if isinstance(label, np.ndarray):
        return ", ".join(map(four_digits, label.tolist()))
    return " ".join(str(label).split()) or "none"
