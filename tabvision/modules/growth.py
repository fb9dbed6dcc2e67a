"""Build the module that goes on with further rows: `SupervisedModule.grow`."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from tabvision.errors import BadValueError
from tabvision.modules.answering import OWN
from tabvision.modules.supervised import SupervisedModule
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.factorization import DotBias
from tabvision.nets.growth import copy_factors, copy_outputs, copy_table_net
from tabvision.nets.packed import PackedNet
from tabvision.preprocess.growth import grown_schema
from tabvision.schema import Schema

Module = TypeVar("Module", bound=SupervisedModule)


def grown_module(module: Module, schema: Schema) -> Module:
    """Return a module for a network's schema and that of further rows, with the weights of the network."""
    parts = [name for name in module.own_settings if module.hparams.get(name) == OWN and name != "optimizer"]
    if parts:
        problem = f"the network has {module.own_settings[parts[0]]} of your own, which it cannot extend"
        raise BadValueError(problem, "Build a new module, and copy the weights that it shares")
    known = _with_widths(module)
    merged = grown_schema(known, schema)
    settings = {
        name: value
        for name, value in module.hparams.items()
        if name not in ("schema", "optimizer") and not name.startswith("_")  # what a command line adds
    }
    new = type(module)(merged, optimizer=module._optimizer, **settings)  # noqa: SLF001 - the same class
    weight = next(module.parameters())
    new.to(weight.device, weight.dtype)
    _copy(module, new, has_more=merged.target.grown != known.target.grown)
    return new


def _with_widths(module: SupervisedModule) -> Schema:
    """Return the schema of a module with the width of each embedding, which the rule would change with its codes."""
    for net in module.modules():
        if isinstance(net, PackedNet | EmbeddingMLP):
            _, spans = net.embeddings.spans()
            columns = zip(module.schema.categorical, spans, strict=True)
            widths = tuple(dataclasses.replace(column, width=len(span)) for column, span in columns)
            return dataclasses.replace(module.schema, categorical=widths)
    return module.schema


@torch.no_grad()
def _copy(known: SupervisedModule, new: SupervisedModule, *, has_more: bool) -> None:
    state = new.state_dict()
    for name, value in known.state_dict().items():
        is_extra = name.endswith("_extra_state")
        if is_extra or (name in state and isinstance(value, Tensor) and value.shape == state[name].shape):
            state[name] = value
    new.load_state_dict(state)
    for old_part, part in zip(_growing(known), _growing(new), strict=True):
        if isinstance(old_part, DotBias):
            copy_factors(old_part, cast("DotBias", part))
        elif isinstance(old_part, PackedNet | EmbeddingMLP):
            copy_table_net(old_part, cast("PackedNet | EmbeddingMLP", part), has_more=has_more)
        else:
            copy_outputs(old_part, part, has_more=has_more)


def _growing(module: SupervisedModule) -> list[nn.Module]:
    """Return the networks for categories and numbers, or the last layer of a network for images."""
    nets: list[nn.Module] = [net for net in module.modules() if isinstance(net, PackedNet | EmbeddingMLP | DotBias)]
    head = getattr(module, "head", None)
    return nets if nets or not isinstance(head, nn.Sequential) else [head[-1]]
