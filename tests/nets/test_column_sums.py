"""Exchanging a column in the first layer's sums gives what the network answers to the exchanged rows."""

import pytest
import torch
from torch import Tensor, nn

from tabvision.nets.column_sums import ColumnSums
from tabvision.nets.packed import PackedNet

CARDINALITIES = [3, 40, 3]
BINS = [(-1.0, 0.0, 1.0), (-2.0, 2.0), ()]


def made(*, own_inputs: bool, widths: tuple[int, ...] = (8, 6)) -> PackedNet:
    """A network as after training: norms have statistics, encodings of the bins are not zero."""
    torch.manual_seed(0)
    net = PackedNet(
        CARDINALITIES, BINS, 2, members=3, widths=widths, own_inputs=own_inputs, dropout=0.1, direct=len(widths) == 2
    ).eval()
    if net.direct is not None:
        nn.init.normal_(net.direct.weight)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 2)  # type: ignore[union-attr]  # they are there
            for values in (module.bias.data, module.running_mean):
                values.normal_()  # type: ignore[union-attr]
    nn.init.normal_(net.embeddings.numbers.table)
    return net


def batch(rows: int = 16) -> tuple[Tensor, Tensor]:
    codes = [torch.randint(cardinality, (rows,)) for cardinality in CARDINALITIES]
    return torch.randn(rows, len(BINS)), torch.stack(codes, dim=1)


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("widths", [(8,), (8, 6), (8, 6, 4)])
@pytest.mark.parametrize(("numbers", "categories"), [([1], []), ([], [1]), ([2, 0], [2]), ([], [2, 0, 1])])
def test_an_exchange_is_what_the_network_answers_to_the_exchanged_rows(
    *, own_inputs: bool, widths: tuple[int, ...], numbers: list[int], categories: list[int]
) -> None:
    net = made(own_inputs=own_inputs, widths=widths)
    sums, rows, others = ColumnSums(net), batch(), [batch(), batch()]
    picked = [(continuous[:, numbers], codes[:, categories]) for continuous, codes in (rows, *others)]

    with torch.no_grad():
        inputs = [sums.inputs(numbers, categories, *values) for values in picked]
        found = sums.exchange(sums.of(*rows), numbers, categories, inputs[0], torch.cat(inputs[1:]))

        for logits, (continuous, codes) in zip(found.chunk(2), others, strict=True):
            expected = [rows[0].clone(), rows[1].clone()]
            expected[0][:, numbers], expected[1][:, categories] = continuous[:, numbers], codes[:, categories]
            torch.testing.assert_close(logits, net(*expected), atol=1e-5, rtol=1e-5)


def test_the_network_and_the_sums_of_the_rows_stay_as_they_were() -> None:
    net, rows = made(own_inputs=True), batch()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    sums = ColumnSums(net)

    with torch.no_grad():
        first = sums.of(*rows)
        before = first.clone()
        inputs = sums.inputs([0], [], rows[0][:, :1], rows[1][:, :0])
        sums.exchange(first, [0], [], inputs, torch.cat([inputs.flip(0)] * 2))

    torch.testing.assert_close(first, before, atol=0, rtol=0)
    torch.testing.assert_close(net.state_dict(), state, atol=0, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_runs_on_a_gpu() -> None:
    net, rows = made(own_inputs=True).cuda(), batch()
    sums, (numbers, codes) = ColumnSums(net), (part.cuda() for part in rows)

    with torch.no_grad():
        pair = [sums.inputs([0], [0], part[:, :1], codes[:, :1]) for part in (numbers, numbers.flip(0))]
        found = sums.exchange(sums.of(numbers, codes), [0], [0], *pair)
        expected = net(torch.cat([numbers.flip(0)[:, :1], numbers[:, 1:]], dim=1), codes)

    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
