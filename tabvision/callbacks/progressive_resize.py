"""Train on small images first and on larger ones later."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, final

from torch import nn
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.ownership import Owner, Quantity
from tabvision.callbacks.schedule import max_epochs
from tabvision.checks import is_integer
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.lightning import datamodule_of
from tabvision.nets.body import Body

Size = tuple[int, int]


@final
class ProgressiveResize(Owner):
    """Train on small images first, which is fast, and on larger ones in later epochs.

    The size is a function of the epoch, so nothing is saved, and a fit resumed at any step has the right one. Validation uses
    the epoch's size. After the fit the data has its last size again, which is the size for predictions.

    Args:
        sizes: The image size from each epoch on, one side or (height, width) in pixels, such as `{0: 128, 3: 224}`. The last
            must be the datamodule's own size.

    Raises:
        BadTypeError: `sizes` is not a mapping from epochs to sizes.
        BadValueError: Epoch 0 has no size, an epoch is negative, or a side is below 1. When a fit starts: no epoch reaches
            the last size, it is not the datamodule's, or the network does not accept one of the sizes.

    Example:
        >>> [ProgressiveResize({0: 128, 3: 224}).size_at(epoch) for epoch in (0, 2, 3)]
        [(128, 128), (128, 128), (224, 224)]
        >>> ProgressiveResize({3: (96, 128), 0: 64}).sizes
        ((0, (64, 64)), (3, (96, 128)))
    """

    owns: frozenset[Quantity] = frozenset({"the image size"})

    @speaking()
    def __init__(self, sizes: Mapping[int, int | Size]) -> None:
        remedy = "Pass a mapping such as {0: 128, 3: 224}"
        if not isinstance(sizes, Mapping):
            raise BadTypeError(f"sizes must be a mapping from epoch to size, got {sizes!r}", remedy)
        found: dict[int, Size] = {}
        for epoch, size in sizes.items():
            sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
            if len(sides) != 2 or not all(map(is_integer, (epoch, *sides))):
                raise BadTypeError(f"sizes are whole numbers, got {epoch!r}: {size!r}", remedy)
            if epoch < 0 or min(sides) < 1:
                raise BadValueError(f"epochs count from 0 and sides from 1, got {epoch!r}: {size!r}", remedy)
            found[epoch] = (sides[0], sides[1])
        if 0 not in found:
            raise BadValueError(f"sizes must include epoch 0, got {sizes!r}", remedy)
        self.sizes = tuple(sorted(found.items()))

    def size_at(self, epoch: int) -> Size:
        """Return the image size (height, width) in an epoch."""
        return next(size for start, size in reversed(self.sizes) if start <= epoch)

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._check(trainer)
            self._check_network(pl_module)
            _resizable(trainer).set_size(self.size_at(trainer.current_epoch))  # for the sanity check

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # a resumed fit knows its epoch only now, and may skip it

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _resizable(trainer).set_size(self.size_at(trainer.current_epoch))

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            _resizable(trainer).set_size(self.sizes[-1][1])

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        data = datamodule_of(trainer)
        if hasattr(data, "set_size"):  # if not, the fit has failed with that error
            data.set_size(self.sizes[-1][1])

    def _check(self, trainer: pl.Trainer) -> None:
        """Raise if the last size is not the datamodule's, or if no epoch reaches it."""
        schema = getattr(_resizable(trainer), "schema", None)
        image = getattr(schema, "image", None)
        start, last = self.sizes[-1]
        if schema is not None and image is None:
            raise BadValueError("the data has no images", "Leave this callback out, or pass an ImageDataModule")
        if image is not None and tuple(image.size) != last:
            wanted, got = (" x ".join(map(str, size)) for size in (image.size, last))
            problem = f"the last size must be the data's, {wanted}, got {got}"
            size = last[0] if last[0] == last[1] else last
            raise BadValueError(problem, f"Build the data with size={size}, or change the last size")
        ends = max_epochs(trainer)
        if ends <= start and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            problem = f"the last size starts in epoch {start}, which max_epochs={ends} does not reach"
            raise BadValueError(problem, "Train for more epochs, or start the last size earlier")

    def _check_network(self, module: pl.LightningModule) -> None:
        """Raise if the network does not accept images of every size, checked by dry runs on one image."""
        net = _image_net(module, self.sizes[-1][1])
        if net is None:
            return
        for epoch, size in self.sizes:
            try:
                net.feature_shape(size)
            except BadValueError as error:
                problem = f"from epoch {epoch} on, {error.args[0]}"
                raise BadValueError(problem, "Pass sizes that the network accepts, or use another network") from error


def _image_net(module: pl.LightningModule, size: Size) -> Body | None:
    """Return a network to try image sizes on: body and head, or a module whose input is images; None if there is none."""
    body, head = getattr(module, "body", None), getattr(module, "head", None)
    parts = (body, head) if isinstance(body, nn.Module) and isinstance(head, nn.Module) else (module,)
    for net in (Body(nn.Sequential(*parts), in_channels=getattr(body, "in_channels", 3)), Body(module)):
        with contextlib.suppress(Exception):
            net.feature_shape(size)
            return net
    return None


@speaking("ProgressiveResize")
def _resizable(trainer: pl.Trainer) -> Any:  # noqa: ANN401 - any datamodule with a `set_size`
    """Return the trainer's datamodule; raise if its images cannot be resized."""
    data = datamodule_of(trainer)
    if data is None:
        raise BadTypeError("it needs a datamodule, got only loaders", "Pass fit(module, datamodule)")
    if not hasattr(data, "set_size"):
        problem = f"{type(data).__name__} has no set_size"
        remedy = "Give it `def set_size(self, size)`, which loads images of (height, width) from the next pass on"
        raise BadTypeError(problem, remedy)
    return data
