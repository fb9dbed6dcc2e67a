"""Find the layer groups of any LightningModule, and split its optimizer's param groups by them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tabvision import lightning as pl
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.nets.layer_groups import LayerGroup, to_group

Groups = Callable[[Any], Sequence[nn.Module | Iterable[nn.Module | nn.Parameter]]]
"""A function from a module to its layer groups, input side first and head last: modules, parameters, or lists of these."""


def checked_groups(groups: Groups | None) -> Groups | None:
    """Return `groups`; raise unless it is a function or None."""
    if groups is not None and not callable(groups):
        problem = f"groups must be a function from the module to its parts, got {type(groups).__name__}"
        raise BadTypeError(problem, "Pass a function such as lambda module: [module.body, module.head]")
    return groups


def layer_groups_of(module: pl.LightningModule, groups: Groups | None) -> list[LayerGroup]:
    """Return the layer groups of a module: what `groups` returns, or its own `layer_groups()`.

    Raises:
        BadTypeError: Neither exists, or a group is not a module or a list of modules and parameters.
        BadValueError: There are no groups, a group is empty, or a parameter is in two.
    """
    own = getattr(module, "layer_groups", None)
    if groups is None and not callable(own):
        problem = f"{type(module).__name__} has no layer_groups()"
        remedy = "Pass groups=, a function from the module to a list of its parts, input side first, head last"
        raise BadTypeError(problem, remedy)
    parts: object = groups(module) if groups else own()  # type: ignore[misc]
    remedy = "Return the module's parts, input side first, head last, each parameter once"
    if not isinstance(parts, Iterable):
        raise BadTypeError(f"layer groups must be a list, got {type(parts).__name__}", remedy)
    found = [to_group(part, number) for number, part in enumerate(parts)]
    if not found or any(len(group) == 0 for group in found):
        raise BadValueError("each layer group must have parameters, and there must be at least one group", remedy)
    seen = [id(parameter) for group in found for parameter in group]
    if len(seen) > len(set(seen)):
        repeated = count(len(seen) - len(set(seen)), "repeated parameter")
        raise BadValueError(f"each parameter must be in one layer group, got {repeated}", remedy)
    return found


def set_trainable(
    group: LayerGroup, *, trains: bool, exempt: Sequence[nn.Module] = (), frozen: Collection[int] = ()
) -> bool:
    """Freeze or unfreeze a layer group, except exempt modules and `frozen` parameters (ids); return whether any changed."""
    exempt_ids = {id(parameter) for norm in exempt for parameter in norm.parameters()}
    changed = False
    for parameter in group:
        wanted = (trains or id(parameter) in exempt_ids) and id(parameter) not in frozen
        changed |= parameter.requires_grad != wanted
        parameter.requires_grad_(wanted)
        if not wanted:
            parameter.grad = None  # so that the optimizer skips it, and does not decay it either
    return changed


def norms_in(group: LayerGroup, module: nn.Module) -> list[nn.Module]:
    """Return the BatchNorms of a layer group, even if it consists of parameters rather than modules."""
    held = {id(parameter) for parameter in group}
    parts = [part for module in group.modules for part in module.modules()]
    owners = [part for part in module.modules() if held & {id(own) for own in part.parameters(recurse=False)}]
    return list(dict.fromkeys(part for part in (*parts, *owners) if isinstance(part, _BatchNorm)))


def frozen_parts(module: nn.Module, frozen: Sequence[LayerGroup]) -> list[nn.Module]:
    """Return the parts of a module whose parameters are all in frozen layer groups, and all parts within them."""
    held = {id(parameter) for group in frozen for parameter in group}
    found = [part for group in frozen for part in group.modules if not list(part.parameters())]  # such as a Dropout
    for part in module.children():
        own = {id(parameter) for parameter in part.parameters()}
        if own and own <= held:
            found += part.modules()
        elif own & held:
            found += frozen_parts(part, frozen)
    return list(dict.fromkeys(found))


def check_optimizers(optimizers: Sequence[Optimizer], groups: Sequence[LayerGroup], module: nn.Module) -> None:
    """Raise unless the optimizers together hold every parameter of the layer groups, and no other trainable one.

    A parameter in no layer group would train while the layers around it are frozen; one in no optimizer would never train.
    """
    in_groups = {id(parameter) for group in groups for parameter in group}
    param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    trains = {id(parameter): parameter.requires_grad for group in param_groups for parameter in group["params"]}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    forgotten = [key for key in trains if trains[key] and key not in in_groups]
    absent = [key for key in in_groups if key not in trains]
    if wrong := forgotten or absent:
        found = listed(sorted(names.get(key, "one that is not the module's") for key in wrong))
        problem = f"the layer groups have {count(len(wrong), 'parameter')} that the optimizer lacks: {found}"
        remedy = "Give the optimizer all parameters, including frozen ones"
        if forgotten:
            problem = f"the optimizer has {count(len(wrong), 'parameter')} in no layer group: {found}"
            remedy = "Put each in one layer group; what trains from the start belongs in the last"
        raise BadValueError(problem, remedy)


def divide_optimizers(optimizers: Sequence[Optimizer], groups: Sequence[LayerGroup], module: nn.Module) -> None:
    """Split the optimizers' param groups, in place, so that each lies within one layer group.

    Parameters are compared by identity. Each new param group keeps the options of the one it came from and gets `name`,
    `layer_group` (its number) and `initial_lr`. An optimizer that is already split stays as it is.

    Raises:
        BadValueError: A parameter is in an optimizer but in no layer group, or in a layer group but in no optimizer.
    """
    check_optimizers(optimizers, groups, module)
    for optimizer in optimizers:
        if not all("layer_group" in group for group in optimizer.param_groups):
            _divide(optimizer, groups)


def _divide(optimizer: Optimizer, groups: Sequence[LayerGroup]) -> None:
    number_of = {id(parameter): number for number, group in enumerate(groups) for parameter in group}
    divided = []
    for old in optimizer.param_groups:
        numbers = [number_of.get(id(parameter), 0) for parameter in old["params"]]  # 0 for one that never trains
        for number in sorted(set(numbers)):
            own = {"name": groups[number].name, "layer_group": number, "initial_lr": old.get("initial_lr", old["lr"])}
            for each in ("params", "param_names"):  # the latter if the optimizer was given named parameters
                if each in old:
                    own[each] = [item for item, its in zip(old[each], numbers, strict=True) if its == number]
            divided.append({**old, **own})
    divided.sort(key=lambda group: group["layer_group"])
    names = [group["name"] for group in divided]
    for position, name in enumerate(names):  # make names unique, so that logs can show each group
        if names.count(name) > 1:
            divided[position]["name"] = f"{name}/{names[:position].count(name)}"
    optimizer.param_groups[:] = divided
