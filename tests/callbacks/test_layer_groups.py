"""Dividing an optimizer by layer group: by identity, in place, with every option kept and every name its own."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from tabvision.callbacks import DiscriminativeLR, FineTune, OneCycle, Unfreeze
from tabvision.callbacks.layer_groups import divide_optimizers, layer_groups_of
from tabvision.errors import BadTypeError, BadValueError
from tabvision.nets.layer_groups import LayerGroup
from tests.made.modules import UserModule, make_loader, make_module, three_groups, three_lists
from tests.made.trainers import MakeTrainer


def groups_of(module: UserModule) -> list[LayerGroup]:
    return layer_groups_of(module, three_groups)


def held(optimizer: Optimizer) -> list[set[int]]:
    return [{id(parameter) for parameter in group["params"]} for group in optimizer.param_groups]


@pytest.mark.parametrize("groups", [three_groups, three_lists])
def test_each_param_group_lies_in_one_layer_group(groups: Any) -> None:
    module = make_module()
    optimizer = module.configure_optimizers()
    layers = layer_groups_of(module, groups)

    divide_optimizers([optimizer], layers, module)

    assert held(optimizer) == [{id(parameter) for parameter in layer} for layer in layers]
    assert [group["layer_group"] for group in optimizer.param_groups] == [0, 1, 2]


def test_parameters_equal_in_value_are_told_apart_by_identity() -> None:
    module = make_module(batch_norm=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    optimizer = module.configure_optimizers()

    divide_optimizers([optimizer], groups_of(module), module)

    assert held(optimizer) == [{id(parameter) for parameter in part.parameters()} for part in three_groups(module)]


def test_options_of_several_own_param_groups_are_kept_and_names_are_unique() -> None:
    module = make_module()
    biases = [parameter for name, parameter in module.named_parameters() if name.endswith("bias")]
    others = [parameter for name, parameter in module.named_parameters() if not name.endswith("bias")]
    optimizer = torch.optim.AdamW(
        [{"params": biases, "weight_decay": 0.0, "mine": "biases"}, {"params": others, "lr": 0.5, "betas": (0.7, 0.8)}],
        lr=0.25,
    )

    divide_optimizers([optimizer], groups_of(module), module)

    names = [group["name"] for group in optimizer.param_groups]
    assert [group["layer_group"] for group in optimizer.param_groups] == [0, 0, 1, 1, 2, 2]
    assert len(set(names)) == 6
    for decay_free, decayed in zip(optimizer.param_groups[::2], optimizer.param_groups[1::2], strict=True):
        assert (decay_free["mine"], decay_free["weight_decay"], decay_free["lr"]) == ("biases", 0.0, 0.25)
        assert (decayed["betas"], decayed["weight_decay"], decayed["lr"]) == ((0.7, 0.8), 0.01, 0.5)
    assert sum(len(params) for params in held(optimizer)) == 8


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_optimizer_stays_the_same_object_and_keeps_its_state(kind: Any) -> None:
    module = make_module(kind)
    optimizer = module.configure_optimizers()
    module(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = dict(optimizer.state)

    divide_optimizers([optimizer], groups_of(module), module)
    optimizer.step()

    assert optimizer.state.keys() == state.keys()
    assert all(optimizer.state[parameter] is entry for parameter, entry in state.items())


def test_a_divided_optimizer_stays_as_it_is_and_a_shared_parameter_counts_once() -> None:
    module = make_module()
    optimizer = module.configure_optimizers()
    divide_optimizers([optimizer], groups_of(module), module)
    before = [dict(group) for group in optimizer.param_groups]
    divide_optimizers([optimizer], groups_of(module), module)
    assert [dict(group) for group in optimizer.param_groups] == before

    module = make_module()
    module.middle.append(module.middle[0])
    optimizer = module.configure_optimizers()
    divide_optimizers([optimizer], groups_of(module), module)
    assert [len(params) for params in held(optimizer)] == [4, 2, 2]


def test_groups_that_do_not_hold_the_parameters_once_are_refused_by_name() -> None:
    module = make_module()
    module.head = module.body[0]  # type: ignore[assignment]
    with pytest.raises(BadValueError, match="each parameter must be in one layer group, got 2 repeated parameters"):
        groups_of(module)

    module = make_module()
    layers = layer_groups_of(module, lambda module: [module.body, module.head])
    sentence = r"the optimizer has 2 parameters in no layer group: middle\.0\.bias, middle\.0\.weight"
    with pytest.raises(BadValueError, match=sentence):
        divide_optimizers([module.configure_optimizers()], layers, module)

    module = make_module()
    optimizer = torch.optim.SGD(module.head.parameters(), lr=0.1)
    with pytest.raises(
        BadValueError, match=r"the layer groups have 6 parameters that the optimizer lacks: .*body\.0\.bias"
    ):
        divide_optimizers([optimizer], groups_of(module), module)

    module = make_module()
    optimizer = torch.optim.SGD([*module.parameters(), nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(BadValueError, match=r"the optimizer has 1 parameter in no layer group: .*not the module's"):
        divide_optimizers([optimizer], groups_of(module), module)


def test_what_is_frozen_for_good_may_be_in_no_layer_group() -> None:
    module = make_module()
    module.middle.requires_grad_(False)
    optimizer = module.configure_optimizers()

    divide_optimizers([optimizer], layer_groups_of(module, lambda module: [module.body, module.head]), module)

    assert [len(params) for params in held(optimizer)] == [4 + 2, 2]


def test_several_optimizers_are_divided_where_together_they_hold_every_layer() -> None:
    module = make_module()
    head = torch.optim.SGD(module.head.parameters(), lr=0.1)
    rest = torch.optim.Adam([*module.middle.parameters(), *module.body.parameters()])

    divide_optimizers([head, rest], groups_of(module), module)

    numbers = [[group["layer_group"] for group in optimizer.param_groups] for optimizer in (head, rest)]
    assert numbers == [[2], [0, 1]]


def test_each_divided_group_keeps_the_names_of_its_own_parameters() -> None:
    module = make_module()
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.named_parameters())

    divide_optimizers([optimizer], groups_of(module), module)

    for group in optimizer.param_groups:
        assert group["param_names"] == [names[id(parameter)] for parameter in group["params"]]


@pytest.mark.parametrize(
    ("groups", "got"),
    [
        (lambda module: [module.body, "head"], "layer group 1 must be .*, got str"),
        (lambda _: [3], "layer group 0 must be .*, got int"),
        (lambda _: [[]], "layer group 0 must be .*, got list"),
        (lambda module: [[module.body, torch.zeros(2)]], "layer group 0 must be .*, got list with Tensor at index 1"),
        (lambda module: [module.named_parameters()], "layer group 0 must be .*, got generator with tuple at index 0"),
        (lambda module: module.head, "layer groups must be a list, got Linear"),
    ],
)
def test_a_group_of_the_wrong_kind_is_refused(groups: Any, got: str) -> None:
    with pytest.raises(BadTypeError, match=got):
        layer_groups_of(make_module(), groups)


def test_a_group_may_mix_modules_and_parameters() -> None:
    module = make_module()
    first: Any = module.body[0]
    norm: Any = module.body[1]

    groups = layer_groups_of(
        module, lambda _: [first.weight, [first.bias, norm], (part for part in [module.middle, module.head])]
    )

    sizes = [[id(parameter) for parameter in group] for group in groups]
    expected: list[list[Any]] = [
        [first.weight],
        [first.bias, *norm.parameters()],
        [*module.middle.parameters(), *module.head.parameters()],
    ]
    assert sizes == [[id(parameter) for parameter in group] for group in expected]


@pytest.mark.parametrize("make", [Unfreeze, FineTune, lambda groups: DiscriminativeLR(1e-3, groups=groups), OneCycle])
def test_groups_that_are_no_function_are_refused_at_once(make: Any) -> None:
    with pytest.raises(BadTypeError, match="groups must be a function from the module to its parts, got list"):
        make(groups=[make_module().head])


@pytest.mark.parametrize("groups", [lambda _: [], lambda module: [nn.ReLU(), module]])
def test_an_empty_group_or_none_is_refused(groups: Any) -> None:
    with pytest.raises(BadValueError, match="each layer group must have parameters"):
        layer_groups_of(make_module(), groups)


def test_groups_that_are_passed_win_over_the_modules_own() -> None:
    class WithGroups(UserModule):
        def layer_groups(self) -> list[LayerGroup]:
            return [LayerGroup("all", (self,))]

    module = WithGroups()

    assert [group.name for group in layer_groups_of(module, None)] == ["all"]
    assert len(layer_groups_of(module, three_groups)) == 3


class OwnOptimizer(UserModule):
    """Two param groups with options of their own, in no order of layers."""

    @override
    def configure_optimizers(self) -> Optimizer:
        late = [*self.head.parameters(), *self.body[0].parameters()]
        early = [*self.middle.parameters(), *self.body[1].parameters()]
        return torch.optim.SGD(
            [{"params": late, "weight_decay": 0.0}, {"params": early, "nesterov": True}],
            lr=0.2,
            momentum=0.9,
            weight_decay=0.5,
        )


def test_a_users_own_configure_optimizers_keeps_its_options_in_a_fit(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(callbacks=[DiscriminativeLR((1e-4, 1e-2), groups=three_groups), OneCycle()])

    trainer.fit(OwnOptimizer(), make_loader())

    groups = trainer.optimizers[0].param_groups
    assert [(group["layer_group"], group["weight_decay"], group["nesterov"]) for group in groups] == [
        (0, 0.0, False),
        (0, 0.5, True),
        (1, 0.5, True),
        (2, 0.0, False),
    ]
    assert [group["initial_lr"] for group in groups] == pytest.approx([1e-4, 1e-4, 1e-3, 1e-2])
