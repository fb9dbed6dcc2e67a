"""Find the layer groups of any LightningModule and divide its optimizer by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from tabvision import lightning as pl
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.nets.layer_groups import LayerGroup

Groups = Callable[[Any], Sequence[nn.Module | Iterable[nn.Parameter]]]
"""A function from a module to its layer groups, input side first, head last: modules, or lists of parameters."""


def layer_groups_of(module: pl.LightningModule, groups: Groups | None) -> list[LayerGroup]:
    """Return the layer groups of a module: what `groups` returns, or its own `layer_groups()`.

    Raises:
        BadTypeError: Neither exists, or a group is neither a module nor parameters.
        BadValueError: There are no groups, a group is empty, or a parameter is in two.
    """
    own = getattr(module, "layer_groups", None)
    if groups is None and not callable(own):
        problem = f"{type(module).__name__} has no layer_groups()"
        remedy = "Pass groups=, a function from the module to a list of its parts, input side first, head last"
        raise BadTypeError(problem, remedy)
    found = [_as_group(part, number) for number, part in enumerate(groups(module) if groups else own())]  # type: ignore[misc]
    remedy = "Let it return the module's parts, input side first, head last, every parameter once"
    if not found or any(len(group) == 0 for group in found):
        raise BadValueError("each layer group must have parameters, and there must be at least one group", remedy)
    seen = [id(parameter) for group in found for parameter in group]
    if len(seen) > len(set(seen)):
        raise BadValueError(f"{count(len(seen) - len(set(seen)), 'parameter')} in more than one layer group", remedy)
    return found


def group_sizes(groups: Sequence[LayerGroup]) -> dict[str, int]:
    """Return the number of parameter elements in each layer group, by name."""
    return {group.name: sum(parameter.numel() for parameter in group) for group in groups}


def divide_optimizer(optimizer: Optimizer, groups: Sequence[LayerGroup], module: nn.Module) -> None:
    """Divide the optimizer's param groups, in place, so that each lies within one layer group.

    Parameters are compared by identity. Each new param group keeps the options of the one it came from and has `name`,
    `layer_group` (its number) and `initial_lr`. An optimizer that is already divided stays as it is.

    Raises:
        BadValueError: A parameter of the optimizer is in no layer group, or one of a layer group is not in the optimizer.
    """
    if all("layer_group" in group for group in optimizer.param_groups):
        return
    number_of = {id(parameter): number for number, group in enumerate(groups) for parameter in group}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    in_optimizer = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    _check_same(in_optimizer, set(number_of), names)
    divided = []
    for old in optimizer.param_groups:
        options = {name: value for name, value in old.items() if name != "params"}
        for number, layer in enumerate(groups):
            params = [parameter for parameter in old["params"] if number_of[id(parameter)] == number]
            if params:
                own = {"params": params, "layer_group": number, "initial_lr": old.get("initial_lr", old["lr"])}
                divided.append({**options, **own, "name": layer.name})
    divided.sort(key=lambda group: group["layer_group"])
    _number_names(divided)
    optimizer.param_groups[:] = divided


def _as_group(part: object, number: int) -> LayerGroup:
    name = f"group_{number}"
    if isinstance(part, LayerGroup):
        return part
    if isinstance(part, nn.Module):
        return LayerGroup(name, (part,))
    params = list(part) if isinstance(part, Iterable) and not isinstance(part, str) else []
    if not params or not all(isinstance(parameter, nn.Parameter) for parameter in params):
        problem = f"a layer group must be a module or a list of parameters, got {type(part).__name__}"
        raise BadTypeError(problem, "Return modules such as [net.body, net.head]")
    return LayerGroup(name, (nn.ParameterList(params),))


def _check_same(in_optimizer: set[int], in_groups: set[int], names: dict[int, str]) -> None:
    for some, others, problem in (
        (in_optimizer, in_groups, "of the optimizer in no layer group"),
        (in_groups, in_optimizer, "of the layer groups not in the optimizer"),
    ):
        if extra := sorted(some - others, key=lambda key: names.get(key, "")):
            wrong = listed([names.get(key, "one that is not the module's") for key in extra])
            remedy = "Give the optimizer every parameter, frozen ones too, and let the layer groups hold each once"
            raise BadValueError(f"{count(len(extra), 'parameter')} {problem}: {wrong}", remedy)


def _number_names(groups: list[dict[str, Any]]) -> None:
    """Number the names of param groups that came from one layer group, so that logs can show each."""
    names = [group["name"] for group in groups]
    for position, (group, name) in enumerate(zip(groups, names, strict=True)):
        if names.count(name) > 1:
            group["name"] = f"{name}/{names[:position].count(name)}"
