"""Layer groups name their parameters once, and a module's groups cover it exactly."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn, zeros

from tabvision.errors import BadValueError
from tabvision.nets.layer_groups import LayerGroup, _cut_by_depth, _depth, as_groups, check_groups, parts_of


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)


def test_a_group_gives_each_parameter_once_in_order_and_is_frozen() -> None:
    net = Net()
    group = LayerGroup("all", (net.body, net, net.head))
    assert [id(parameter) for parameter in group] == [id(parameter) for parameter in net.parameters()]
    assert len(group) == 4
    assert list(group.parameters()) == list(group)

    group = LayerGroup("activation", (nn.ReLU(),))
    assert len(group) == 0
    assert group

    with pytest.raises(FrozenInstanceError):
        LayerGroup("body", ()).name = "head"  # type: ignore[misc]


def test_groups_that_cover_the_module_pass_also_with_a_tied_parameter() -> None:
    net = Net()
    check_groups([LayerGroup("body", (net.body,)), LayerGroup("head", (net.head,))], net)
    net.head.weight = nn.Parameter(net.body.weight[:1].detach().clone())
    net.body.bias = net.head.bias
    check_groups([LayerGroup("all", (net,))], net)


def test_groups_that_do_not_hold_every_parameter_once_are_refused() -> None:
    net = Net()
    with pytest.raises(BadValueError, match=r"2 parameters in no layer group: head\.weight, head\.bias"):
        check_groups([LayerGroup("body", (net.body,))], net)

    groups = [LayerGroup("all", (net,)), LayerGroup("head", (net.head,))]
    with pytest.raises(BadValueError, match=r"2 parameters in several layer groups: head\.weight, head\.bias"):
        check_groups(groups, net)

    with pytest.raises(BadValueError, match="layer groups must have unique names, got head more than once"):
        check_groups([LayerGroup("head", (net.body,)), LayerGroup("head", (net.head,))], net)

    with pytest.raises(BadValueError, match="1 parameter in layer groups but not in the module"):
        check_groups([LayerGroup("all", (net, nn.Linear(1, 1, bias=False)))], net)


# Bodies cut by depth: balanced runs that hold every parameter once.


class WithToken(nn.Module):
    """A net that holds a parameter of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(zeros(1, 2))
        self.layers = nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))

    def forward(self, values: Tensor) -> Tensor:
        return self.layers(values + self.token)  # type: ignore[no-any-return]  # a Sequential's answer has no type


@given(st.data())
def test_runs_hold_every_part_once_in_order(data: st.DataObject) -> None:
    depths = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=30))
    num_runs = data.draw(st.integers(1, len(depths)))

    runs = _cut_by_depth(depths, num_runs)

    assert len(runs) == num_runs
    assert all(len(run) for run in runs)
    assert [place for run in runs for place in run] == list(range(len(depths)))


@given(st.integers(1, 8), st.integers(1, 5))
def test_equal_parts_make_equal_runs(num_runs: int, parts_a_run: int) -> None:
    runs = _cut_by_depth([3] * num_runs * parts_a_run, num_runs)

    assert {len(run) for run in runs} == {parts_a_run}


def test_parts_are_layers_with_weights_or_whole_stages() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.LayerNorm(2), nn.Linear(2, 2))
    assert _depth(net) == 2
    assert parts_of(net, 2) == [net[0], net[2], net[3]]

    stages = [nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(3)]
    net = nn.Sequential(*stages)
    assert parts_of(net, 3) == stages
    assert len(parts_of(net, 4)) > 3

    layers = [nn.Linear(2, 2) for _ in range(10)]
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(*layers))
    assert parts_of(net, 2) == [net[0], *layers]


def test_a_modules_own_parameters_are_a_part_of_their_own() -> None:
    net = WithToken()

    groups = as_groups(parts_of(net, 2), 2)

    assert [group.name for group in groups] == ["early", "late"]
    held = [id(parameter) for group in groups for parameter in group]
    assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())
    assert held[0] == id(net.token)


@pytest.mark.parametrize(("num_runs", "names"), [(1, ["body"]), (3, ["body_1", "body_2", "body_3"])])
def test_other_numbers_of_groups_are_named_too(num_runs: int, names: list[str]) -> None:
    net: Any = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))

    assert [group.name for group in as_groups(parts_of(net, num_runs), num_runs)] == names


def test_a_net_without_parameters_has_no_groups() -> None:
    assert as_groups(parts_of(nn.ReLU(), 2), 2) == []


def test_more_groups_than_parts_are_refused() -> None:
    net = nn.Conv2d(3, 4, 3)

    with pytest.raises(
        BadValueError,
        match=r"num_groups is 3 with the head, but the body has 1 part to group. Pass num_groups=2 or fewer",
    ):
        as_groups(parts_of(net, 2), 2)
