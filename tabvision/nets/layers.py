"""Layers, and helpers for any network: BatchNorm for a single row, a fast Dropout, evaluation mode, output width."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from tabvision.checks import check_fraction
from tabvision.errors import BadValueError, speaking
from tabvision.nets.weights import plain_name
from tabvision.tracing import is_traced

Own = TypeVar("Own")

# Module attribute and checkpoint key: the names of the BatchNorms that had statistics before the module's first fit. Not in
# a callback's `state_dict`: if two of a class share one, Lightning raises before our error, which says which to leave out.
PRETRAINED_NORMS = "tabvision_unfreeze"
LANES = 1 << 16  # 16 random bits per element, so probabilities are rounded to 1 / 65,536


@final
class BatchNorm1d(nn.BatchNorm1d):
    """Like `torch.nn.BatchNorm1d`, but a training batch of one row is normalized with the running statistics.

    One row has no standard deviation, so torch raises. Here the running statistics stay unchanged, and gradients flow.

    Shape:
        - input: (B, N) or (B, N, L) float
        - returns: the same

    Example:
        >>> BatchNorm1d(2)(torch.ones(1, 2)).detach().round(decimals=3)
        tensor([[1., 1.]])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.track_running_stats and input.numel() == self.num_features:
            arguments = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(input, *arguments, training=False, eps=self.eps)
        return super().forward(input)


@contextlib.contextmanager
def use_running_statistics(net: nn.Module) -> Iterator[None]:
    """Make a network's BatchNorms use their running statistics if they get one value per channel, as `BatchNorm1d` does.

    This is for networks with torch's own norms: feature maps of one small image may be one pixel, without standard deviation.
    Norms that get more values are unaffected, and so is SyncBatchNorm, which gathers values from all ranks.

    Example:
        >>> norm = nn.BatchNorm2d(2)
        >>> with use_running_statistics(norm):
        ...     norm(torch.ones(1, 2, 1, 1)).flatten().tolist() == norm.eval()(torch.ones(1, 2, 1, 1)).flatten().tolist()
        True
    """
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm) and part.training]
    norms = [norm for norm in norms if norm.track_running_stats and not isinstance(norm, nn.SyncBatchNorm)]

    def rest(norm: _BatchNorm, inputs: tuple[Any, ...]) -> None:
        norm.training = inputs[0].numel() > norm.num_features

    hooks = [norm.register_forward_pre_hook(rest) for norm in norms]
    try:
        yield
    finally:
        for hook, norm in zip(hooks, norms, strict=True):
            hook.remove()
            norm.training = True


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode inside the context, then restore the mode of each part.

    Example:
        >>> net = nn.Dropout()
        >>> with evaluating(net):
        ...     during = net.training
        >>> during, net.training
        (False, True)
    """
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def fact_device() -> torch.device:
    """Return where to build tensors that follow from the settings, which no checkpoint holds: not on "meta", but on the CPU.

    Example:
        >>> with torch.device("meta"):
        ...     fact_device()
        device(type='cpu')
    """
    default = torch.empty(0).device
    return torch.device("cpu") if default.type == "meta" else default


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Copy rank 0's tensors to all ranks, such as weights that each rank has computed by itself.

    Running statistics need it too: DDP copies them before each step, but not after the last one.
    """
    if distributed.is_available() and distributed.is_initialized():
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), src=0)


def of_all_ranks(own: Own) -> list[Own]:
    """Gather one object from each rank, in rank order, given this rank's."""
    ranks: list[Any] = [own]
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        ranks = [None] * distributed.get_world_size()
        distributed.all_gather_object(ranks, own)
    return ranks


def restore_pretrained_norms(module: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Restore from a checkpoint which of a module's BatchNorms had statistics before its first fit."""
    if PRETRAINED_NORMS in checkpoint:
        vars(module)[PRETRAINED_NORMS] = frozenset(checkpoint[PRETRAINED_NORMS]["kept"])


def norms_with_statistics(module: nn.Module) -> frozenset[str]:
    """Return the names of the BatchNorms whose running statistics differ from their initial values.

    Example:
        >>> net = nn.ModuleDict({"new": nn.BatchNorm1d(2), "trained": nn.BatchNorm1d(2)})
        >>> _ = net["trained"](torch.rand(4, 2))
        >>> norms_with_statistics(net)
        frozenset({'trained'})
    """
    found = set()
    for name, part in module.named_modules():
        mean, variance = getattr(part, "running_mean", None), getattr(part, "running_var", None)
        if isinstance(part, _BatchNorm) and isinstance(mean, Tensor) and isinstance(variance, Tensor):
            is_initial = bool((mean == 0).all() and (variance == 1).all())
            if not is_initial:
                found.add(plain_name(name))
    return frozenset(found)


def width_of(net: nn.Module, shape: Sequence[int], what: str) -> int:
    """Return the output width of a user's own network, found by running it on two rows of zeros.

    Args:
        net: The network.
        shape: Shape of one row of its input.
        what: Name of the network in error messages, such as "head".

    Raises:
        BadValueError: It does not accept such rows, or does not return (B, width).

    Example:
        >>> width_of(nn.Linear(3, 5), (3,), "head")
        5
    """
    rows, remedy = torch.zeros(2, *shape), "Pass a torch.nn.Module that turns (B, ...) into (B, width)"
    rows = rows.to(next((parameter.device for parameter in net.parameters()), rows.device))
    try:
        with evaluating(net), torch.no_grad():
            given = net(rows)
    except Exception as error:
        problem = f"the {what} does not accept rows of shape {tuple(shape)} ({str(error).strip().rstrip('.'):.120})"
        raise BadValueError(problem, remedy) from error
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(rows):
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise BadValueError(f"the {what} must return (2, width) for 2 rows, got {got}", remedy)
    return given.shape[1]


@final
class Dropout(nn.Dropout):
    """Like `torch.nn.Dropout`, with a cheaper mask on the CPU.

    One random draw of 64 bits covers four elements. It comes from torch's default generator, so `torch.manual_seed` or a
    saved generator state reproduces it. The remaining elements are scaled by the exact inverse of the actual probability, so
    the expectation is unchanged. On other devices, for `p` of 0 or 1, and while a graph is traced, torch's dropout runs.

    Args:
        p: Probability that an element becomes zero, in [0, 1]; on the CPU rounded to 1 / 65,536.
        inplace: Whether to overwrite the input; if so, torch's own dropout runs.

    Shape:
        - input: (*) float
        - returns: (*) the same

    Raises:
        BadValueError: `p` is outside [0, 1].

    Example:
        >>> Dropout(0.5)(torch.ones(1000)).unique()
        tensor([0., 2.])
    """

    @speaking()
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:  # noqa: FBT001, FBT002 - torch's signature
        check_fraction("p", p, "[]")
        super().__init__(p, inplace)

    @override
    def forward(self, input: Tensor) -> Tensor:
        lanes = round(self.p * LANES)
        is_fast = input.device.type == "cpu" and input.is_floating_point() and not is_traced()
        if not self.training or self.inplace or not 0 < lanes < LANES or not is_fast:
            return functional.dropout(input, self.p, self.training, self.inplace)
        mask = _lane_mask(input, lanes)
        scale = LANES / (LANES - lanes)
        if input.dtype in (torch.float32, torch.float64):
            return input * mask.mul_(scale)
        return input * mask * scale  # a 16-bit mask would round the scale in the same direction for all elements


def keep_mask(like: Tensor, fraction: float) -> Tensor:
    """Return zeros with probability `fraction`, else ones, with the shape, dtype and device of `like`.

    Args:
        like: Any real tensor.
        fraction: Probability of a zero, in [0, 1]; on the CPU rounded to 1 / 65,536.

    Example:
        >>> keep_mask(torch.zeros(2, dtype=torch.int64), 0.0)
        tensor([1, 1])
    """
    lanes = round(fraction * LANES)
    if lanes < LANES and like.device.type == "cpu" and not is_traced():
        return _lane_mask(like, lanes)
    return (torch.rand(like.shape, device=like.device) >= fraction).to(like.dtype)


def _lane_mask(like: Tensor, lanes: int) -> Tensor:
    """Return zeros with probability `lanes` / `LANES`, else ones.

    Having the comparison write numbers is several times faster than writing booleans and converting them.
    """
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.ge(bits, lanes - LANES // 2, out=torch.empty_like(bits, dtype=like.dtype))
