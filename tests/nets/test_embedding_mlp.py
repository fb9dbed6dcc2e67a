"""The table network: every choice trains, exports and repeats; bad arguments are answered in a sentence."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tabvision.errors import BadTypeError, BadValueError
from tabvision.nets.embedding_mlp import ACTIVATIONS, EmbeddingMLP
from tabvision.nets.layer_groups import LayerGroup, check_groups
from tabvision.nets.layers import Dropout
from tabvision.nets.numeric import PiecewiseNumbers, PlainNumbers

CARDINALITIES = [3, 10]
BINS = [(-1.0, 0.0, 1.0), (-2.0, 2.0)]


def piecewise(num_columns: int) -> nn.Module:
    return PiecewiseNumbers(BINS[:num_columns])


def bare(num_columns: int) -> nn.Module:
    return PlainNumbers(num_columns, norm=False, squash=False)


def linear(num_columns: int) -> nn.Module:
    return nn.Linear(num_columns, 5)


CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "linear": {"widths": ()},
    "three layers": {"widths": (16, 8, 4), "dropout": (0.1, 0.2, 0.0)},
    "dropout": {"dropout": 0.2, "embedding_dropout": 0.1},
    "no norm": {"batch_norm": False, "numbers": bare},
    "gelu": {"activation": "gelu"},
    "widths by position": {"embedding_widths": {1: 5}},
    "piecewise": {"numbers": piecewise},
    "an encoder of one's own": {"numbers": linear},
}


def batch(rows: int = 8, numbers: int = 2, categories: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, numbers), torch.randint(3, (rows, categories))


@pytest.fixture(params=list(CHOICES.values()), ids=list(CHOICES))
def net(request: pytest.FixtureRequest) -> EmbeddingMLP:
    torch.manual_seed(0)
    return EmbeddingMLP(CARDINALITIES, 2, 3, **request.param)


def test_every_parameter_gets_a_finite_gradient_and_is_in_one_group(net: EmbeddingMLP) -> None:
    logits = net(*batch(64))
    logits.square().sum().backward()
    assert logits.shape == (64, 3)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name

    parts = {"embeddings": net.embeddings, "layers": net.layers, "head": net.head}
    check_groups([LayerGroup(name, (part,)) for name, part in parts.items()], net)
    net(*batch(1)).sum().backward()
    assert net.head.weight.grad is not None


def test_answers_are_alike_alone_among_others_from_copies_and_in_bfloat16(
    net: EmbeddingMLP, subtests: pytest.Subtests
) -> None:
    for rows in [0, 1, 2]:
        with subtests.test(rows=rows):
            assert net.eval()(*batch(rows)).shape == (rows, 3)

    numbers, codes = batch(8)
    net.eval()
    torch.testing.assert_close(net(numbers, codes)[3:4], net(numbers[3:4], codes[3:4]))

    inputs, copied = batch(), pickle.loads(pickle.dumps(net))
    fresh = copy.deepcopy(net)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    fresh.load_state_dict(net.state_dict())
    expected = net.eval()(*inputs)
    assert torch.equal(copied.eval()(*inputs), expected)
    assert torch.equal(fresh.eval()(*inputs), expected)

    inputs = batch()
    net.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = net(*inputs)
    torch.testing.assert_close(low.float(), net(*inputs), atol=0.05, rtol=0.05)


SOME = ("three layers", "no norm", "piecewise")


@pytest.mark.parametrize("net", [CHOICES[name] for name in SOME], indirect=True, ids=SOME)
def test_an_exported_program_answers_alike_for_any_number_of_rows(net: EmbeddingMLP) -> None:
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(net.eval(), batch(8), dynamic_shapes=({0: rows}, {0: rows}))
    inputs = batch(5)

    torch.testing.assert_close(program.module()(*inputs), net(*inputs))


def test_a_seed_repeats_the_start() -> None:
    torch.manual_seed(0)
    first = EmbeddingMLP(CARDINALITIES, 2, 3)
    torch.manual_seed(0)
    second = EmbeddingMLP(CARDINALITIES, 2, 3)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_categories_or_numbers_alone_are_enough() -> None:
    assert EmbeddingMLP([3], 0, 1, numbers=piecewise)(*batch(4, numbers=0, categories=1)).shape == (4, 1)
    assert EmbeddingMLP([], 2, 1)(*batch(4, categories=0)).shape == (4, 1)


def test_layers_follow_fastais_order_each_with_its_own_dropout() -> None:
    net = EmbeddingMLP([], 2, 1, widths=(8,), dropout=0.1)
    assert [type(layer).__name__ for layer in net.layers] == ["Linear", "ReLU", "BatchNorm1d", "Dropout"]

    net = EmbeddingMLP([], 2, 1, widths=(8, 8, 8), dropout=[0.1, 0.0, 0.3])
    assert [layer.p for layer in net.layers if isinstance(layer, Dropout)] == [0.1, 0.3]


def test_a_training_step_without_dropout_or_unknown_codes_repeats() -> None:
    net, inputs = EmbeddingMLP(CARDINALITIES, 2, 1, unknown_share=0.0), batch()

    assert torch.equal(net(*inputs), net(*inputs))


@pytest.mark.parametrize("widths", [[4, 7], {0: 4, 1: 7}])
def test_embedding_widths_may_be_chosen(widths: Any) -> None:
    net = EmbeddingMLP(CARDINALITIES, 0, 1, embedding_widths=widths)

    assert [net.embeddings.categories.table(column).shape[1] for column in (0, 1)] == [4, 7]


def test_the_network_learns_an_interaction_of_a_category_and_a_number() -> None:
    torch.manual_seed(0)
    numbers, codes = torch.randn(512, 1), torch.randint(1, 3, (512, 1))
    target = numbers * (codes * 2 - 3)
    net = EmbeddingMLP([3], 1, 1, widths=(32,))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)

    for _ in range(150):
        optimizer.zero_grad()
        loss: Tensor = nn.functional.mse_loss(net(numbers, codes), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    assert nn.functional.mse_loss(net.eval()(numbers, codes), target).item() < 0.05


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no columns": ({"cardinalities": [], "num_continuous": 0}, "a row must have a category or a number, got neither"),
    "widths that are no list": ({"widths": 8}, "widths must be a list of whole numbers, got 8"),
    "no width": ({"widths": (8, 0)}, "each of widths must be at least 1, got 0"),
    "half a width": ({"widths": (8.5,)}, r"each of widths must be a whole number, got 8\.5"),
    "no embedding width": ({"embedding_widths": {0: 0}}, "each of embedding_widths must be at least 1, got 0"),
    "dropout of one": ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1\.0"),
    "few dropouts": ({"dropout": [0.1]}, r"dropout must be one number or 2 \(one for each hidden layer\), got 1"),
    "embedding dropout": ({"embedding_dropout": -0.1}, r"embedding_dropout must lie in \[0, 1\), got -0\.1"),
    "unknown share": ({"unknown_share": "all"}, r"unknown_share must be a number in \[0, 1\), got 'all'"),
    "an encoder of other columns": (
        {"numbers": lambda _: nn.Linear(3, 4)},
        r"the encoder of numbers does not accept rows of shape \(2,\) \(.*mat1 and mat2 shapes cannot be multiplied .*\)",
    ),
    "an encoder that adds rows": (
        {"numbers": lambda _: nn.Flatten(0)},
        r"the encoder of numbers must return \(2, width\) for 2 rows, got \(4,\)",
    ),
    "no encoder": ({"numbers": lambda _: torch.sin}, "an encoder of numbers must be a torch.nn.Module, got builtin.*"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_answered_in_a_sentence(arguments: dict[str, Any], message: str) -> None:
    given = {"cardinalities": CARDINALITIES, "num_continuous": 2, "num_outputs": 1, **arguments}

    with pytest.raises((BadTypeError, BadValueError), match=f"EmbeddingMLP: {message}. [A-Z]"):
        EmbeddingMLP(**given)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_builds(activation: str) -> None:
    assert EmbeddingMLP([3], 1, 1, activation=activation)(*batch(4, 1, 1)).shape == (4, 1)
