"""Real pictures to try things on, from a package of the `demo` extra; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tabvision.errors import BadValueError


def digits(folder: Path) -> Path:
    """Writes 1,797 handwritten digits as PNG files of 8 x 8 pixels, one folder a digit; the folder.

    Source: the UCI optical recognition set, as scikit-learn ships it.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        problem = "the digits come with the package scikit-learn, which is not installed"
        raise BadValueError("tabvision demo", problem, "Install it: pip install 'tabvision[demo]'") from error
    import torch
    from torchvision.io import write_png

    found = load_digits()
    pictures = np.round(found.images * (255 / 16)).astype(np.uint8)  # from 17 levels of gray to 256
    for place, (picture, label) in enumerate(zip(pictures, found.target, strict=True)):
        file = folder / str(label) / f"{place:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_png(torch.from_numpy(picture)[None], str(file))
    return folder
