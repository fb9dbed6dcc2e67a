"""A body: a network without its classifier, with its normalization statistics and the shape of its features."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, TabvisionError, speaking
from tabvision.nets.layers import evaluating, use_running_statistics
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD

_SIZES = (16, 32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 336, 384, 448, 512, 518)


@final
class Body(nn.Module):
    """A network without its classifier.

    If a training batch is a single image whose feature maps shrink to one pixel, BatchNorm uses its running statistics there.

    Args:
        net: A network from normalized images to feature maps, tokens or one vector per image.
        mean: Mean of each channel, for values in [0, 1], with which the weights expect images to be normalized.
        spread: Standard deviation of each channel, for the same purpose.
        in_channels: Channels of an image.
        channels_first: Whether feature maps have shape (B, C, H, W); else (B, H, W, C).

    Shape:
        - input: (B, in_channels, H, W) float
        - returns: (B, C, H, W) float, or (B, C) if the network pools; tokens (B, N, C) are averaged

    Example:
        >>> Body(nn.Conv2d(3, 8, 3)).feature_shape((32, 32))
        (8, 30, 30)
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        spread: Sequence[float] = IMAGENET_STD,
        in_channels: int = 3,
        channels_first: bool = True,
    ) -> None:
        super().__init__()
        self.net = net
        self.mean, self.spread = tuple(mean), tuple(spread)
        self.in_channels = in_channels
        self.channels_first = channels_first

    @override
    @speaking()
    def forward(self, images: Tensor) -> Tensor:
        with use_running_statistics(self.net) if self.training and len(images) == 1 else contextlib.nullcontext():
            features = self.net(images)
        if not isinstance(features, Tensor):
            problem = f"a body must return a tensor of features, got {type(features).__name__}"
            raise BadTypeError(problem, "Wrap it in a network that returns one tensor")
        if features.ndim == 3:
            return features.mean(dim=1)
        return features if self.channels_first or features.ndim != 4 else features.permute(0, 3, 1, 2)

    def feature_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of one image's features, without computing them where torch allows it.

        Raises:
            BadValueError: The network does not accept images of that size, or does not return features.
            BadTypeError: It does not return a tensor.
        """
        try:
            features = self._dry_run(size)
        except TabvisionError:
            raise
        except Exception as error:
            raise self._wrong_size(size, error) from error
        if features.ndim not in (2, 4) or len(features) != 1:
            got = tuple(features.shape)
            problem = f"a body must return features (B, C, H, W), (B, N, C) or (B, C), got {got} for one image"
            raise BadValueError(problem, "Cut off what comes after the features")
        return tuple(features.shape[1:])

    def _dry_run(self, size: tuple[int, int]) -> Tensor:
        try:
            return self._shapes_only(size)
        except Exception:  # a network may need real values; if the size is wrong, the next attempt fails too
            device = next((tensor.device for tensor in self.parameters()), None)
            with evaluating(self), torch.no_grad():
                features: Tensor = self(torch.zeros(1, self.in_channels, *size, device=device))
            return features

    def _shapes_only(self, size: tuple[int, int]) -> Tensor:
        """Run the network on torch's meta device, which takes milliseconds for even the largest network and image."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        tensors = {name: value.to("meta") for name, value in state.items()}
        with evaluating(self), torch.no_grad():
            image = torch.empty(1, self.in_channels, *size, device="meta")
            features: Tensor = functional_call(self, tensors, (image,))
        return features

    def _wrong_size(self, size: tuple[int, int], error: Exception) -> BadValueError:
        fitting = next((side for side in _SIZES if self._accepts(side)), None)
        problem = (
            f"the body does not accept images of {size[0]} x {size[1]} pixels ({str(error).strip().rstrip('.'):.120})"
        )
        remedy = f"Pass size={fitting} or another that it accepts" if fitting else "Pass another size or body"
        return BadValueError(problem, remedy)

    def _accepts(self, side: int) -> bool:
        with contextlib.suppress(Exception):
            return len(self._shapes_only((side, side))) == 1
        return False


def as_body(net: nn.Module, in_channels: int = 3) -> Body:
    """Wrap a user's own network as a body, normalized with ImageNet's statistics unless the data has its own.

    Raises:
        BadValueError: It is already a body, for another number of channels.
    """
    if not isinstance(net, Body):
        return Body(net, in_channels=in_channels)
    if net.in_channels != in_channels:
        problem = f"the body reads images of {net.in_channels} channels, and the data has {in_channels}"
        raise BadValueError(problem, "Pass a body for as many channels, or channels= to the datamodule")
    return net


def adapt_channels(net: nn.Module, in_channels: int, *, pretrained: bool) -> None:
    """Change the first convolution's input channels from 3 to `in_channels`, in place.

    One channel gets the sum of the three weights, two get the first two times 1.5, and channels beyond three get zeros.
    Without pretrained weights, all of them are drawn anew.

    Raises:
        BadValueError: The first convolution is not over three channels, or the number is below 1.

    Source: fastai `_update_first_layer`.

    Example:
        >>> net = nn.Conv2d(3, 8, 3)
        >>> adapt_channels(net, 1, pretrained=True)
        >>> net(torch.zeros(1, 1, 5, 5)).shape
        torch.Size([1, 8, 3, 3])
    """
    check_whole("in_channels", in_channels, remedy="Pass 1 for gray images")
    if in_channels == 3:
        return
    first = next((part for part in net.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise BadValueError("the network does not begin with a convolution over 3 channels", "Pass in_channels=3")
    old = first.weight.detach()
    first.in_channels = in_channels
    first.weight = nn.Parameter(old.new_zeros(len(old), in_channels, *first.kernel_size))
    if pretrained:
        with torch.no_grad():
            own = old.sum(dim=1, keepdim=True) if in_channels == 1 else old[:, :2] * 1.5 if in_channels == 2 else old
            first.weight[:, :3] = own
    else:
        first.reset_parameters()
