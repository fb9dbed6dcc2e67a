"""Layer groups: the parts of a network that train at different rates, input side first."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import nn

from tabvision.errors import BadTypeError, BadValueError, count, listed

_WHOLE_NET_FRACTION = 0.8  # a part with more of the layers than this is split; ResNet-152's third stage has 0.7


@final
@dataclass(frozen=True)
class LayerGroup:
    """Modules that are frozen, unfrozen and given a learning rate together.

    Args:
        name: Name of the group in logs and param groups.
        modules: Modules of the group; a parameter shared by two of them counts once.
        is_new: Whether it starts untrained while other groups are pretrained; the last group always does.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> len(LayerGroup("head", (layer, layer)))
        2
    """

    name: str
    modules: tuple[nn.Module, ...]
    is_new: bool = False

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return each parameter once, in the order of the modules."""
        return iter({id(it): it for module in self.modules for it in module.parameters()}.values())

    def __iter__(self) -> Iterator[nn.Parameter]:
        return self.parameters()

    def __len__(self) -> int:
        return sum(1 for _ in self.parameters())

    def __bool__(self) -> bool:
        """Return True, even for a group without parameters."""
        return True


def group_sizes(groups: Sequence[LayerGroup]) -> dict[str, int]:
    """Return the number of parameter elements in each layer group, by name."""
    return {group.name: sum(parameter.numel() for parameter in group) for group in groups}


def num_new(groups: Sequence[LayerGroup]) -> int:
    """Return how many of the last groups are new, at least 1.

    Example:
        >>> num_new([LayerGroup("body", ()), LayerGroup("table", (), is_new=True), LayerGroup("head", ())])
        2
    """
    old = [number for number, group in enumerate(groups[:-1], start=1) if not group.is_new]
    return len(groups) - max(old, default=0)


def to_group(part: object, number: int) -> LayerGroup:
    """Return a part of a network as a layer group: a module, a parameter, or a list of these.

    Raises:
        BadTypeError: The part is anything else, or an empty list.

    Example:
        >>> to_group(nn.Linear(2, 1), 0).name, len(to_group([nn.Linear(2, 1), nn.Parameter()], 1))
        ('group_0', 3)
    """
    if isinstance(part, LayerGroup):
        return part
    is_list = isinstance(part, Iterable) and not isinstance(part, nn.Module | nn.Parameter | str)
    elements: list[Any] = list(part) if is_list else [part]  # type: ignore[call-overload]  # it is iterable
    wrong = [index for index, element in enumerate(elements) if not isinstance(element, nn.Module | nn.Parameter)]
    if wrong or not elements:
        got = type(part).__name__ + (
            f" with {type(elements[wrong[0]]).__name__} at index {wrong[0]}" if is_list and wrong else ""
        )
        problem = f"layer group {number} must be a module or a list of modules and parameters, got {got}"
        raise BadTypeError(problem, "Return parts such as [net.body, [net.norm, net.head]]")
    modules = [nn.ParameterList([each]) if isinstance(each, nn.Parameter) else each for each in elements]
    return LayerGroup(f"group_{number}", tuple(modules))


def check_groups(groups: Sequence[LayerGroup], module: nn.Module) -> None:
    """Raise unless every parameter of `module` is in exactly one group.

    Raises:
        BadValueError: A parameter is in no group, in several, or not in the module, or two groups have the same name.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> check_groups([LayerGroup("body", (net[0],)), LayerGroup("head", (net[1],))], net)
    """
    remedy = "Let layer_groups() return every parameter once, input side first, head last"
    repeated = [name for name, times in Counter(group.name for group in groups).items() if times > 1]
    if repeated:
        raise BadValueError(f"layer groups must have unique names, got {listed(repeated)} more than once", remedy)
    times = Counter(id(parameter) for group in groups for parameter in group)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    problems = {
        "in no layer group": [name for key, name in names.items() if times[key] == 0],
        "in several layer groups": [name for key, name in names.items() if times[key] > 1],
    }
    for problem, wrong in problems.items():
        if wrong:
            raise BadValueError(f"{count(len(wrong), 'parameter')} {problem}: {listed(wrong)}", remedy)
    if foreign := sum(1 for key in times if key not in names):
        raise BadValueError(f"{count(foreign, 'parameter')} in layer groups but not in the module", remedy)


def parts_of(net: nn.Module, num_groups: int) -> list[nn.Module]:
    """Return a network's parts with parameters, in construction order: the fewest that split well into `num_groups` runs.

    Stages stay whole unless there are too few of them, or one of them is nearly the whole network. Parameters that belong
    directly to a module with children, such as position embeddings, form a part of their own.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> parts_of(net, 2) == [net[0], net[2]]
        True
    """
    parts = [net] if list(net.parameters()) else []
    while parts:
        deepest = max(parts, key=_depth)
        if len(parts) >= num_groups and _depth(deepest) <= _WHOLE_NET_FRACTION * sum(map(_depth, parts)):
            break
        divided = next((part for part in sorted(parts, key=_depth, reverse=True) if _inner(part)), None)
        if divided is None or (divided is not deepest and len(parts) >= num_groups):
            break
        index = next(index for index, part in enumerate(parts) if part is divided)
        parts[index : index + 1] = _inner(divided)
    return parts


def _depth(part: nn.Module) -> int:
    """Return the number of layers with weights, not counting biases and norms.

    Example:
        >>> _depth(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)))
        2
    """
    return sum(1 for parameter in part.parameters() if parameter.ndim > 1)


def _cut_by_depth(depths: Sequence[int], num_groups: int) -> list[range]:
    """Split parts into runs of about equal depth, each with at least one part, choosing the best position for each cut.

    Example:
        >>> _cut_by_depth([1, 4, 5, 5, 5], 2)  # a ResNet-18 as fastai cuts it
        [range(0, 3), range(3, 5)]
    """
    ends = [0, *itertools.accumulate(depths)]
    cuts = [0]
    for run in range(1, num_groups):
        wanted = ends[-1] * run / num_groups
        allowed = range(cuts[-1] + 1, len(depths) - (num_groups - run) + 1)
        cuts.append(min(allowed, key=lambda cut: abs(ends[cut] - wanted)))
    return [range(start, end) for start, end in itertools.pairwise([*cuts, len(depths)])]


def as_groups(parts: Sequence[nn.Module], num_groups: int) -> list[LayerGroup]:
    """Return the layer groups of a body, input side first: two are named "early" and "late", more are numbered."""
    if not parts:
        return []
    if len(parts) < num_groups:
        problem = f"num_groups is {num_groups + 1} with the head, but the body has {count(len(parts), 'part')} to group"
        raise BadValueError(problem, f"Pass num_groups={len(parts) + 1} or fewer")
    names = {1: ["body"], 2: ["early", "late"]}.get(num_groups, [f"body_{number + 1}" for number in range(num_groups)])
    runs = _cut_by_depth([_depth(part) for part in parts], num_groups)
    return [LayerGroup(name, tuple(parts[index] for index in run)) for name, run in zip(names, runs, strict=True)]


def _inner(part: nn.Module) -> list[nn.Module]:
    """Return what a part consists of, its own parameters first; nothing for a single layer."""
    children = [child for child in part.children() if list(child.parameters())]
    if not children:
        return []
    own = list(part.parameters(recurse=False))
    return [nn.ParameterList(own), *children] if own else children
