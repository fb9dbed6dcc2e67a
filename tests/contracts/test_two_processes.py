"""Two gloo processes against one: the same rows, the same weights on both, the same numbers as one process."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tabvision.callbacks import OneCycle
from tabvision.inference import gather
from tabvision.modules import TabularModule
from tests.made.processes import Seen, both_ranks, on_two
from tests.made.processes_tables import SCENARIOS, make_trainer

VALIDATED = [name for name, scenario in SCENARIOS.items() if scenario.validation is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes wrote down what they saw."""
    return on_two("tables", tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def records(folder: Path) -> Seen:
    """What each of two processes wrote down, by scenario."""
    return both_ranks(folder)


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_processes_train_on_the_rows_of_one_and_hold_the_same_bits_and_loss(records: Seen, name: str) -> None:
    first, second = (record[name]["state"] for record in records)
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert not different

    _, data = SCENARIOS[name].build()
    first, second = (record[name] for record in records)
    assert first["steps"] == second["steps"]
    assert len(first["seen"]) == 2
    order = data.train_dataloader().batch_sampler.sampler
    for epoch, (ours, theirs) in enumerate(zip(first["seen"], second["seen"], strict=True)):
        rows = [row for batch in ours + theirs for row in batch]
        assert sorted(rows) == sorted(order.of_epoch(epoch).tolist())
        assert (sorted(rows) == data.parts["train"].rows.tolist()) == (data.sampler is None)
        assert min(len(batch) for batch in ours + theirs) >= 2
    assert first["seen"][0] != first["seen"][1]

    first, second = (record[name]["logged"]["train/loss"] for record in records)
    assert np.isfinite(first)
    assert first == second


@pytest.mark.parametrize("name", VALIDATED)
def test_validation_and_gathered_predictions_are_those_of_one_process(records: Seen, name: str, tmp_path: Path) -> None:
    module, data = SCENARIOS[name].build()
    module.load_state_dict(records[0][name]["state"])
    (alone,) = make_trainer(tmp_path, devices=1).validate(module, data, verbose=False)
    for record in records:
        assert record[name]["validated"] == pytest.approx(alone, rel=1e-6, nan_ok=True)
        logged = {key: value for key, value in record[name]["logged"].items() if key.startswith("val/")}
        assert logged == pytest.approx(alone, rel=1e-6, nan_ok=True)

    module.load_state_dict(records[0][name]["state"])
    gathered = gather(make_trainer(tmp_path, devices=1).predict(module, data))
    for record in records:
        assert torch.equal(record[name]["gathered"]["index"], data.parts["val"].rows)
        torch.testing.assert_close(record[name]["gathered"]["predictions"], gathered["predictions"])
    shares = [record[name]["own_rows"] for record in records]
    assert sorted(shares[0] + shares[1]) == data.parts["val"].rows.tolist()


def test_both_processes_keep_the_weights_of_one_score_which_is_that_of_one_process(
    records: Seen, tmp_path: Path
) -> None:
    first, second = (record["folds"] for record in records)
    module, data = SCENARIOS["folds"].build()
    module.load_state_dict(first["state"])
    data.use_folds(module.hparams["members"])

    (alone,) = make_trainer(tmp_path, devices=1).validate(module, data.fold_loader(), verbose=False)

    assert first["score"] == second["score"] == pytest.approx(alone["val/loss"], rel=1e-5)


def test_two_processes_train_as_one_with_the_joined_batch_does(records: Seen, tmp_path: Path) -> None:
    module, data = SCENARIOS["no norms"].build(batch_size=16)
    trainer = make_trainer(tmp_path, devices=1, callbacks=[OneCycle()])

    trainer.fit(module, data)

    record = records[0]["no norms"]
    assert trainer.global_step == record["steps"]
    for key, tensor in module.state_dict().items():
        torch.testing.assert_close(record["state"][key], tensor, rtol=1e-5, atol=1e-6)
    assert record["logged"]["train/loss"] == pytest.approx(float(trainer.callback_metrics["train/loss"]), rel=1e-5)


def test_both_processes_make_one_bag_and_answer_every_row_out_of_fold(records: Seen, folder: Path) -> None:
    first, second = (record["cross-validation"] for record in records)
    _, data = SCENARIOS["folds"].build()
    saved = TabularModule.load_from_checkpoint(folder / "bag.ckpt").state_dict()

    assert not [name for name in saved if not torch.equal(first["state"][name], second["state"][name])]
    assert not [name for name in saved if not torch.equal(first["state"][name], saved[name])]
    assert first["metrics"] == second["metrics"]
    assert torch.equal(first["numbers"], second["numbers"])
    assert first["numbers"][:, 0].tolist() == sorted(data.parts["train"].rows.tolist())
