"""Layer groups name their parameters once, and a module's groups cover it exactly."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from torch import nn

from tabvision.errors import BadValueError
from tabvision.nets.layer_groups import LayerGroup, check_groups


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)


def test_a_group_gives_each_parameter_once_in_order() -> None:
    net = Net()

    group = LayerGroup("all", (net.body, net, net.head))

    assert [id(parameter) for parameter in group] == [id(parameter) for parameter in net.parameters()]
    assert len(group) == 4
    assert list(group.parameters()) == list(group)


def test_a_group_without_parameters_is_still_a_group() -> None:
    group = LayerGroup("activation", (nn.ReLU(),))

    assert len(group) == 0
    assert group


def test_a_group_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        LayerGroup("body", ()).name = "head"  # type: ignore[misc]


def test_groups_that_cover_the_module_pass() -> None:
    net = Net()

    check_groups([LayerGroup("body", (net.body,)), LayerGroup("head", (net.head,))], net)


def test_a_tied_parameter_in_one_group_passes() -> None:
    net = Net()
    net.head.weight = nn.Parameter(net.body.weight[:1].detach().clone())
    net.body.bias = net.head.bias

    check_groups([LayerGroup("all", (net,))], net)


def test_a_parameter_in_no_group_is_named() -> None:
    net = Net()

    with pytest.raises(BadValueError, match=r"2 parameters in no layer group: head\.weight, head\.bias\. Let layer_gr"):
        check_groups([LayerGroup("body", (net.body,))], net)


def test_a_parameter_in_two_groups_is_named() -> None:
    net = Net()
    groups = [LayerGroup("all", (net,)), LayerGroup("head", (net.head,))]

    with pytest.raises(BadValueError, match=r"2 parameters in several layer groups: head\.weight, head\.bias"):
        check_groups(groups, net)


def test_two_groups_of_one_name_are_refused() -> None:
    net = Net()

    with pytest.raises(BadValueError, match="layer groups must have unique names, got head more than once"):
        check_groups([LayerGroup("head", (net.body,)), LayerGroup("head", (net.head,))], net)


def test_a_parameter_of_another_module_is_refused() -> None:
    net = Net()

    with pytest.raises(BadValueError, match="1 parameter in layer groups but not in the module"):
        check_groups([LayerGroup("all", (net, nn.Linear(1, 1, bias=False)))], net)
