"""Layer groups: the parts of a network that train at rates of their own, input side first."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from tabvision.errors import BadValueError, count, listed


@final
@dataclass(frozen=True)
class LayerGroup:
    """Modules that are frozen, thawed and given a learning rate together.

    Args:
        name: What logs and param groups call it.
        modules: Its modules; a parameter that two of them share counts once.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> len(LayerGroup("head", (layer, layer)))
        2
    """

    name: str
    modules: tuple[nn.Module, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Each parameter once, in the order of the modules."""
        seen: set[int] = set()
        for module in self.modules:
            for parameter in module.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def __iter__(self) -> Iterator[nn.Parameter]:
        return self.parameters()

    def __len__(self) -> int:
        return sum(1 for _ in self.parameters())

    def __bool__(self) -> bool:
        """True, also for a group without parameters: it is a group."""
        return True


def check_groups(groups: Sequence[LayerGroup], module: nn.Module) -> None:
    """Checks that every parameter of `module` is in one group, and in one only.

    Raises:
        BadValueError: A parameter in no group or in several, one that is not the module's, two groups of one name.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> check_groups([LayerGroup("body", (net[0],)), LayerGroup("head", (net[1],))], net)
    """
    remedy = "Let layer_groups() return every parameter once, input side first, head last"
    repeated = [name for name, times in Counter(group.name for group in groups).items() if times > 1]
    if repeated:
        raise BadValueError(f"layer groups must have names of their own, got {listed(repeated)} more than once", remedy)
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


_WHOLE_NET_SHARE = 0.8  # a part with more of the layers than this is looked into; ResNet-152's third stage has 0.7
_TWO_RUNS = ("early", "late")


def parts_of(net: nn.Module, num_runs: int) -> list[nn.Module]:
    """A network's parts with parameters, in the order it was built in: as few as cut well into that many runs.

    Stages stay whole unless there are too few of them, or one of them is nearly all of the net. Parameters that a module with
    children holds itself, such as position embeddings, are a part of their own.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> parts_of(net, 2) == [net[0], net[2]]
        True
    """
    parts = [net] if _has_parameters(net) else []
    while parts:
        heaviest = max(parts, key=depth)
        if len(parts) >= num_runs and depth(heaviest) <= _WHOLE_NET_SHARE * sum(map(depth, parts)):
            break
        opened = next((part for part in sorted(parts, key=depth, reverse=True) if len(_inner(part)) > 0), None)
        if opened is None or (opened is not heaviest and len(parts) >= num_runs):
            break
        place = next(place for place, part in enumerate(parts) if part is opened)
        parts[place : place + 1] = _inner(opened)
    return parts


def depth(part: nn.Module) -> int:
    """Layers with weights, biases and norms aside.

    Example:
        >>> depth(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)))
        2
    """
    return sum(1 for parameter in part.parameters() if parameter.ndim > 1)


def _cut_by_depth(depths: Sequence[int], num_runs: int) -> list[range]:
    """Runs of about equal depth, each with one part at least: every cut is put where it comes nearest to its share.

    Args:
        depths: Of each part, input side first.
        num_runs: How many runs, from 1 to the number of parts.

    Example:
        >>> _cut_by_depth([1, 4, 5, 5, 5], 2)  # a ResNet-18 as fastai cuts it
        [range(0, 3), range(3, 5)]
    """
    ends = [0, *itertools.accumulate(depths)]
    cuts = [0]
    for run in range(1, num_runs):
        wanted = ends[-1] * run / num_runs
        allowed = range(cuts[-1] + 1, len(depths) - (num_runs - run) + 1)
        cuts.append(min(allowed, key=lambda cut: abs(ends[cut] - wanted)))
    return [range(start, end) for start, end in itertools.pairwise([*cuts, len(depths)])]


def as_groups(parts: Sequence[nn.Module], num_runs: int) -> list[LayerGroup]:
    """Layer groups of a body, input side first: "early" and "late" for two, numbered for more.

    Args:
        parts: What `parts_of` answered.
        num_runs: How many groups.

    Raises:
        BadValueError: Fewer parts than groups.
    """
    if not parts:
        return []
    if len(parts) < num_runs:
        problem = f"num_groups is {num_runs + 1} with the head, but the body has {count(len(parts), 'part')} to group"
        raise BadValueError(problem, f"Pass num_groups={len(parts) + 1} or fewer")
    runs = _cut_by_depth([depth(part) for part in parts], num_runs)
    return [
        LayerGroup(name, tuple(parts[place] for place in run)) for name, run in zip(_names(num_runs), runs, strict=True)
    ]


def _names(num_runs: int) -> Iterable[str]:
    if num_runs == 1:
        return ["body"]
    return _TWO_RUNS if num_runs == 2 else [f"body_{place}" for place in range(1, num_runs + 1)]


def _inner(part: nn.Module) -> list[nn.Module]:
    """What a part is made of, its own parameters first; nothing for a single layer."""
    children = [child for child in part.children() if _has_parameters(child)]
    if not children:
        return []
    own = list(part.parameters(recurse=False))
    return [nn.ParameterList(own), *children] if own else children


def _has_parameters(part: nn.Module) -> bool:
    return any(True for _ in part.parameters())
