"""Under the staged callbacks a network compiled by `torch.compile` trains as the plain one does."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.tuning import FindLR
from tests.made.modules import Rates, make_loader
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer

# torch.compile itself uses what torch calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")


class Net(nn.Module):
    """Three parts, with BatchNorm in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.middle = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.head = nn.Linear(6, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.middle(self.body(x)))
        return logits


class Module(pl.LightningModule):
    """A user's own module around a network, compiled or not."""

    def __init__(self, *, compiles_net: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        net = Net()
        self.net: Any = torch.compile(net, backend="aot_eager") if compiles_net else net

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch["x"])[:, 0], batch["y"])

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def parts(module: Any) -> list[nn.Module]:
    return [module.net.body, module.net.middle, module.net.head]


RECIPES: dict[str, Callable[[], list[pl.Callback]]] = {
    "unfreeze and one cycle": lambda: [
        Unfreeze({0: 1, 1: 2, 2: "all"}, groups=parts),
        OneCycle((1e-3, 1e-2), groups=parts),
    ],
    "batch norm that follows": lambda: [Unfreeze(1, batch_norm="train", groups=parts), OneCycle()],
    "fine tune at a found rate": lambda: [FineTune(groups=parts), FindLR(num_steps=20), ExactResume()],
}


def trained(compiled: str, callbacks: list[pl.Callback], quick_trainer: MakeTrainer) -> tuple[list[Tensor], Rates]:
    module: Any = Module(compiles_net=compiled == "net")
    rates = Rates()
    given: Any = torch.compile(module, backend="aot_eager") if compiled == "module" else module
    quick_trainer(max_epochs=3, callbacks=[*callbacks, rates]).fit(given, make_loader())
    return list(module.state_dict().values()), rates


PAIRS = [(name, compiled) for name in RECIPES for compiled in ("net", "module")]


@pytest.mark.parametrize(("name", "compiled"), slow_but([PAIRS[0]], PAIRS))
def test_a_compiled_network_trains_as_the_plain_one(name: str, compiled: str, quick_trainer: MakeTrainer) -> None:
    torch.compiler.reset()
    plain, plain_rates = trained("nothing", RECIPES[name](), quick_trainer)

    state, rates = trained(compiled, RECIPES[name](), quick_trainer)

    assert rates.trains == plain_rates.trains
    assert len(set(rates.trains)) > 1  # there are stages
    assert rates.lr == plain_rates.lr
    assert len(state) == len(plain) == 11
    for ours, theirs in zip(state, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
