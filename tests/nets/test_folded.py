"""A folded network answers what the network does, and a Predictor answers with it."""

from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tabvision.batch import Batch
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tabvision.modules.tabular_network import TabularNetwork
from tabvision.nets.folded import FoldedNet, folded
from tabvision.nets.growth import copy_table_net
from tabvision.nets.packed import PackedNet
from tabvision.schema import Categorical, Continuous, Schema, Target
from tabvision.tasks import Regression

BINS = [(-1.0, -0.2, 0.0, 0.001, 1.0), (-2.0, 2.0), ()]


@torch.no_grad()
def trained_like(net: nn.Module) -> nn.Module:
    """The network, in evaluation mode, with weights and statistics of which none is where they start."""
    torch.manual_seed(0)
    for name, values in net.state_dict().items():
        if name.endswith("running_var"):
            values.uniform_(0.5, 2)
        elif values.is_floating_point():
            values.normal_()
    return net.eval()


def rows_of(cardinalities: list[int], num_numbers: int) -> tuple[Tensor, Tensor]:
    """Rows with every code, and numbers on, between and beyond the edges."""
    numbers = torch.tensor([[-1e30], [-1.0], [-0.2], [-0.1], [0.0], [0.0005], [0.001], [0.7], [1.0], [2.0], [9.0]])
    codes = [torch.arange(len(numbers)) % cardinality for cardinality in cardinalities]
    return numbers.expand(-1, num_numbers).clone(), torch.stack(codes, 1) if codes else torch.empty(
        len(numbers), 0, dtype=torch.int64
    )


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("bin_parts", [1, 4])
@pytest.mark.parametrize(
    ("cardinalities", "bins"), [([3, 40, 3], BINS), ([], BINS), ([3, 40, 3], []), ([2], [()])], ids=str
)
def test_it_answers_as_the_network(
    *, own_inputs: bool, direct: bool, bin_parts: int, cardinalities: list[int], bins: list[tuple[float, ...]]
) -> None:
    settings = {"own_inputs": own_inputs, "direct": direct, "bin_parts": bin_parts, "dropout": 0.1}
    net = trained_like(PackedNet(cardinalities, bins, 2, members=3, widths=(8, 6), **settings)).double()  # type: ignore[arg-type]
    rows, codes = rows_of(cardinalities, len(bins))

    with torch.inference_mode():
        expected = net(rows.double(), codes)

        torch.testing.assert_close(FoldedNet(net)(rows.double(), codes), expected, atol=1e-9, rtol=1e-9)  # type: ignore[arg-type]
        torch.testing.assert_close(folded(net)(rows[:1].double(), codes[:1]), expected[:1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("own_inputs", [False, True])
def test_a_grown_network_answers_the_same_to_the_bit(*, own_inputs: bool) -> None:
    settings: dict[str, Any] = {"widths": (16,), "embedding_widths": {0: 3, 1: 5}, "own_inputs": own_inputs}
    known, grown = (PackedNet([number, 40], BINS, 2, **settings).eval() for number in (3, 9))
    trained_like(known)
    fitting = {name: it for name, it in known.state_dict().items() if it.shape == grown.state_dict()[name].shape}
    grown.load_state_dict(fitting, strict=False)
    copy_table_net(known, grown, has_more=False)
    rows = rows_of([3, 40], len(BINS))

    with torch.inference_mode():
        assert torch.equal(FoldedNet(known)(*rows), FoldedNet(grown)(*rows))


def test_what_cannot_be_folded_stays_as_it_is() -> None:
    others = [
        nn.Linear(2, 2),
        PackedNet([3], [], 1, widths=(8,)).bfloat16(),
        PackedNet([700_000], [], 1, widths=(8,), embedding_widths={0: 1}),
    ]

    assert [folded(net) is net for net in others] == [True] * 3
    assert isinstance(folded(PackedNet([3], [], 1, widths=(8,))), FoldedNet)


def schema() -> Schema:
    number = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=40.0, bins=(-1.0, 0.0, 1.0))
    job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
    target = Target(columns=("pay",), task=Regression(mean=(10.0,), spread=(2.0,)), num_rows=50_000)
    return Schema(target=target, continuous=(number,), categorical=(job,))


@pytest.mark.parametrize("bag", [1, 2])
def test_a_predictor_answers_with_it_until_the_module_may_change(bag: int) -> None:
    module = TabularModule(schema(), bag=bag)
    for net in module.nets:
        trained_like(net)
    predictor = Predictor(module, device="cpu")
    rows = pd.DataFrame({"age": [31.0, 40.0, None], "job": ["cook", "pilot", None]})
    assert sum(isinstance(part, FoldedNet) for part in predictor._inference_net.modules()) == bag
    own = predictor.predict(rows, uncertainty=True)

    learned = predictor.module  # from now on its weights count

    pd.testing.assert_frame_equal(predictor.predict(rows, uncertainty=True), own, rtol=1e-5)
    with torch.no_grad():
        for net in learned.nets:  # type: ignore[union-attr]  # a TabularModule
            net.head.bias.add_(1.0)
    assert (predictor.predict(rows)["prediction"] != own["prediction"]).all()


def test_a_network_that_reads_its_parts_otherwise_is_not_folded() -> None:
    class Inner(TabularNetwork):
        def member_logits(self, batch: Batch) -> Tensor:
            numbers: Tensor = self.get_submodule("net.embeddings.numbers")(batch["continuous"])
            return numbers

    network = Inner(schema())

    assert network.for_inference() is network
    assert TabularNetwork(schema()).for_inference() is not network
