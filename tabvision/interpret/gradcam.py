"""Grad-CAM: maps of the regions of an image that support a network's answer."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tabvision.augment.normalize import normalize
from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, speaking
from tabvision.inference.batches import Arrays, Inputs
from tabvision.inference.inputs import Source
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import Model
from tabvision.plain import Label

Maps: TypeAlias = list[NDArray[np.float32]]

_BATCH_SIZE = 16  # images whose graph is in memory
_MAX_PREFIX = 16  # tokens before those of the patches: of the class, and registers
_REMEDY = "Pass layer= the name of a part with a spatial map, as in module.named_modules()"


@speaking("gradcam")
def gradcam(
    model: Model,
    images: Source | Inputs,
    *,
    layer: str | None = None,
    target: Label | None = None,
    batch_size: int = _BATCH_SIZE,
) -> Maps:
    """Return a map for each image of the regions that support the network's answer.

    The map weighs each channel of the last spatial features by the mean gradient of the class's logit; of a transformer each
    token's features by their own gradient. It is coarse, and shows what the answer rests on, not whether it is right.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint.
        images: What `Predictor.predict` takes.
        layer: The part whose output is used, named as in `module.named_modules()`, such as "body.net.layer3"; None for
            the last one with a spatial map.
        target: The class, or the number of several, to explain; None for the predicted class, or the one number.
        batch_size: Images in a batch of the network.

    Returns:
        A map in [0, 1] for each image, as large as the network's input: 0 where nothing supports the answer, 1 where the
        support is greatest. NaN for an image that cannot be read.

    Shape:
        - returns: N arrays (H, W) float32

    Raises:
        BadTypeError: The model reads no images, or columns as well.
        BadValueError: The network has no spatial map, or none that the answer depends on; or there are several numbers and no
            target.
        UnknownNameError: There is no such layer or target.

    Source:
        Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
    """
    check_whole("batch_size", batch_size)
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if predictor.schema.image is None or not predictor.schema.is_of_images:
        problem = "the model must read images alone, and it reads columns"
        raise BadTypeError(problem, "Look at its columns with importance and effects")
    if layer is not None and layer not in dict(predictor.module.named_modules()):
        raise UnknownNameError("layer", layer, [name for name, _ in predictor.module.named_modules() if name])
    inputs = images if isinstance(images, Inputs) else predictor.read(images)
    size = predictor.schema.image.size
    maps = [np.full(size, np.nan, dtype=np.float32) for _ in range(inputs.num_rows)]
    for arrays in inputs.batches(batch_size):
        if len(arrays["index"]):
            found = _maps(predictor, arrays, layer, target).cpu().numpy()
            for row, each in zip(arrays["index"].tolist(), found, strict=True):
                maps[row] = each
    return maps


def _maps(predictor: Predictor, arrays: Arrays, layer: str | None, target: Label | None) -> Tensor:
    """Return the maps of a batch, (B, H, W)."""
    image, module = predictor.schema.image, predictor.module
    assert image is not None
    with torch.inference_mode(mode=False), torch.enable_grad():
        batch = predictor.batch(arrays)
        # the pixels need a gradient, so that a frozen network has a graph as well
        batch["image"] = normalize(batch["image"], image.mean, image.std).requires_grad_()
        with _outputs_of(module, layer) as outputs:
            logits = module(batch).float()
        channels_first = layer == "body" or getattr(getattr(module, "body", None), "channels_first", True)
        coarse = _coarse(_scores(predictor, logits, target), outputs, layer, channels_first=channels_first)
    resized = functional.interpolate(coarse.float().unsqueeze(1), image.size, mode="bilinear").squeeze(1).clamp(min=0)
    top = resized.amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, resized / top, 0.0).clamp(max=1)


@contextlib.contextmanager
def _outputs_of(module: nn.Module, layer: str | None) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the body's parts, or of one layer, in this thread, by name in the order of computation."""
    outputs: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and threading.get_ident() == thread:
            outputs.pop(name, None)
            outputs[name] = output

    parts = dict(module.named_modules())
    names = {name for name in parts if name.startswith("body.")} or set(parts)
    hooks = [
        part.register_forward_hook(lambda _part, _inputs, output, name=name: keep(name, output))
        for name, part in parts.items()
        if name in names or name == layer
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _scores(predictor: Predictor, logits: Tensor, target: Label | None) -> Tensor:
    """Return the logit of each row that its map explains, (B,)."""
    task, calibration = predictor.module.task, predictor.calibration
    names = list(task.names(predictor.schema.target))
    columns = torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 and len(names) == 2 else logits
    if target is not None:
        if target not in names:
            raise UnknownNameError("target", str(target), list(map(str, names)))
        return columns[:, names.index(target)]
    if not task.is_classes and logits.shape[1] > 1:
        problem = f"the model answers {logits.shape[1]} numbers"
        raise BadValueError(problem, f"Pass target= one of them, such as {names[0]!r}")
    predictions = task.activate(calibration.scale(logits.detach())).cpu().numpy()
    decoded = calibration.decode(task, predictions)
    codes = torch.from_numpy(decoded if decoded.ndim == 1 else predictions.argmax(axis=1)).to(logits.device)
    return columns.gather(1, codes.long().unsqueeze(1)).squeeze(1)


def _coarse(score: Tensor, outputs: dict[str, Tensor], layer: str | None, *, channels_first: bool) -> Tensor:
    """Return maps of the last output, or a layer's, in which more than one position matters, (B, h, w)."""
    names = [name for name in reversed(outputs) if layer in (None, name)]
    # a network of tokens has no other maps after its first
    tokens = [name for name in names if outputs[name].ndim == 3]
    for name in dict.fromkeys([*names[:1], *tokens, *names]):
        output = outputs[name]
        grid = _grid(name, outputs) if output.ndim == 3 else output.shape[2:] if channels_first else output.shape[1:3]
        if grid is None or len(output) != len(score) or math.prod(grid) == 1:
            continue
        (gradient,) = torch.autograd.grad(score.sum(), output, retain_graph=True, allow_unused=True)
        if gradient is None:
            continue
        if output.ndim == 3:
            matters = gradient[:, -math.prod(grid) :]
            speaks = (matters * output[:, -math.prod(grid) :]).sum(dim=2).view(-1, *grid)
        else:
            across, channels = ((2, 3), 1) if channels_first else ((1, 2), 3)
            speaks = (gradient.mean(dim=across, keepdim=True) * output).sum(dim=channels)
            matters = gradient
        if matters.any():  # after the last block of many transformers only the token of the class does
            found: Tensor = speaks.detach().relu()
            return found
    problem = (
        f"{layer!r} puts out no spatial map that the answer depends on"
        if layer
        else ("the network has no spatial map that its answer depends on, nor tokens of which the grid is known")
    )
    raise BadValueError(problem, _REMEDY)


def _grid(tokens: str, outputs: dict[str, Tensor]) -> tuple[int, int] | None:
    """Return the rows and columns of the patches that tokens stand for: those of the last map before them that fits."""
    names = list(outputs)
    num_tokens = outputs[tokens].shape[1]
    for name in reversed(names[: names.index(tokens)]):
        grid = outputs[name].shape[2:]
        if len(grid) == 2 and num_tokens - _MAX_PREFIX <= math.prod(grid) <= num_tokens:
            return grid[0], grid[1]
    return None
