"""Lightning's own example of transfer learning works with `Unfreeze`, resumed and on two ranks too."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made.modules import different
from tests.made.processes import Seen, both_ranks, on_two
from tests.made.transfer import EPOCHS, TransferLearningModel, fit, parts

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.:UserWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What an uninterrupted fit saw, and where its checkpoints are."""
    folder = tmp_path_factory.mktemp("transfer")
    return fit(folder), folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each of two processes saw."""
    return both_ranks(on_two("transfer", tmp_path_factory.mktemp("two")))


def names_from(first: int) -> list[str]:
    """The parameters of the layer groups from that one on."""
    module = TransferLearningModel()
    wanted = {id(parameter) for part in parts(module)[first:] for parameter in part.parameters()}
    return [name for name, parameter in module.named_parameters() if id(parameter) in wanted]


STAGES = [names_from(2), names_from(1), names_from(0)]


def test_each_stage_trains_and_moves_its_layers_at_the_schedulers_rate(whole: tuple[dict[str, Any], Path]) -> None:
    seen, _ = whole

    assert seen["trains"] == seen["moved"] == STAGES
    assert seen["rates"] == [[pytest.approx(rate)] for rate in (1e-2, 1e-3, 1e-4)]


@pytest.mark.parametrize("epoch", range(EPOCHS - 1))
def test_resumed_after_an_epoch_it_ends_with_the_same_bits(
    epoch: int, whole: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    seen, folder = whole

    resumed = fit(tmp_path, folder / f"epoch={epoch}.ckpt")

    assert resumed["trains"] == resumed["moved"] == STAGES[epoch + 1 :]
    assert not different(seen["state"], resumed["state"])


def test_two_ranks_stay_equal_and_end_where_one_process_does(whole: tuple[dict[str, Any], Path], two: Seen) -> None:
    first, second = (rank["whole"] for rank in two)

    assert first["trains"] == first["moved"] == second["moved"] == STAGES
    assert first["rates"] == whole[0]["rates"]
    assert not different(first["state"], second["state"])
    for name, tensor in first["state"].items():
        torch.testing.assert_close(tensor, whole[0]["state"][name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("epoch", range(EPOCHS - 1))
def test_two_ranks_resumed_after_an_epoch_end_with_the_same_bits(epoch: int, two: Seen) -> None:
    for rank in two:
        assert not different(rank["whole"]["state"], rank[f"resumed {epoch}"]["state"])
        assert rank[f"resumed {epoch}"]["moved"] == STAGES[epoch + 1 :]
