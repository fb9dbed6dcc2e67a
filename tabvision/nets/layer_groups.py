"""Layer groups: the parts of a network that train at rates of their own, input side first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
    who = type(module).__name__
    remedy = "Let layer_groups() return every parameter once, input side first, head last"
    repeated = [name for name, times in Counter(group.name for group in groups).items() if times > 1]
    if repeated:
        raise BadValueError(
            who, f"layer groups must have names of their own, got {listed(repeated)} more than once", remedy
        )
    times = Counter(id(parameter) for group in groups for parameter in group)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    problems = {
        "in no layer group": [name for key, name in names.items() if times[key] == 0],
        "in several layer groups": [name for key, name in names.items() if times[key] > 1],
    }
    for problem, wrong in problems.items():
        if wrong:
            raise BadValueError(who, f"{count(len(wrong), 'parameter')} {problem}: {listed(wrong)}", remedy)
    if foreign := sum(1 for key in times if key not in names):
        raise BadValueError(who, f"{count(foreign, 'parameter')} in layer groups but not in the module", remedy)
