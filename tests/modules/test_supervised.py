"""The module that owns the four steps: settings are plain, wrong ones are sentences, a user's own module is served."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor, gather
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.lightning import LightningCLI
from tabvision.metrics import RunningMean
from tabvision.modules import CollabModule, SupervisedModule, TabularModule
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schema import SchemaSource
from tests.made.pairs import make_frame, tabular_data
from tests.made.payload import Payload
from tests.made.ratings import ratings_data
from tests.made.servers import Page, serving
from tests.made.sweeps import slow_but
from tests.made.tables import small
from tests.made.trainers import MakeTrainer


class Linear(SupervisedModule):
    """A user's own module: one layer over the numbers."""

    def __init__(self, schema: SchemaSource, scale: float = 1.0, *, lr: Any = 0.1) -> None:
        super().__init__(
            schema, lr=lr, optimizer="sgd", weight_decay=0.0, decay="decoupled", decay_norms=False, momentum=0.0
        )
        self.scale = scale
        self.layer = nn.Linear(len(self.schema.continuous), self.task.num_outputs)

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.layer(batch["continuous"]) * self.scale
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup("layer", (self.layer,))]


class HalfGrouped(Linear):
    """Forgets its bias."""

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup("layer", (nn.ParameterList([self.layer.weight]),))]


def test_a_checkpoint_of_another_schema_is_refused_by_what_differs(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(small(data := tabular_data("binary")), data)
    trainer.save_checkpoint(tmp_path / "binary.ckpt")
    other = tabular_data("regression")

    with pytest.raises(
        BadValueError, match=r"TabularModule: the checkpoint has another schema; what differs: .+\. Pass"
    ):
        quick_trainer().validate(small(other), other, ckpt_path=tmp_path / "binary.ckpt", verbose=False)


def test_the_schema_of_the_data_may_be_passed_with_a_checkpoint_and_is_compared(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(small(data := tabular_data("binary")), data)
    trainer.save_checkpoint(tmp_path / "binary.ckpt")

    loaded = TabularModule.load_from_checkpoint(tmp_path / "binary.ckpt", weights_only=True, schema=data.schema)
    assert loaded.schema == data.schema
    with pytest.raises(BadValueError, match=r"another schema; what differs: target\..+other ones build a new"):
        TabularModule.load_from_checkpoint(
            tmp_path / "binary.ckpt", weights_only=True, schema=tabular_data("regression").schema
        )

    with pytest.raises(
        BadValueError, match=r"TabularModule: the weights in the checkpoint do not fit the TabularModule that"
    ):
        TabularModule.load_from_checkpoint(tmp_path / "binary.ckpt", weights_only=True, widths=[3])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")
@pytest.mark.parametrize("kind", slow_but([TabularModule], [TabularModule, CollabModule]))
def test_a_checkpoint_of_a_compiled_net_opens_like_any_other(
    kind: Any, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data: Any = tabular_data("binary") if kind is TabularModule else ratings_data()
    module = kind(data.schema)
    module.net = torch.compile(module.net, backend="eager")
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "compiled.ckpt")
    batch = next(iter(data.val_dataloader()))

    assert torch.equal(open_checkpoint(tmp_path / "compiled.ckpt").module(batch), module.eval()(batch))


def test_a_rate_may_be_a_numpy_number_and_is_saved_as_pythons(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary")
    module = small(
        data,
        lr=(np.float32(0.25), np.float64(0.5)),
        weight_decay=np.float32(0.5),
        momentum=np.float64(0.5),
        dropout=np.float64(0.0),
    )
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")

    settings = TabularModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True).hparams

    assert settings["lr"] == (0.25, 0.5)
    assert [type(value) for value in settings["lr"]] == [float, float]
    assert {name: type(settings[name]) for name in ("weight_decay", "momentum", "dropout")} == {
        "weight_decay": float,
        "momentum": float,
        "dropout": float,
    }


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_every_optimizer_has_the_three_groups_by_name(name: str, quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")
    trainer = quick_trainer()

    trainer.fit(small(data, optimizer=name, lr=(1e-4, 1e-2)), data)

    rates = {group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups}
    assert rates == pytest.approx(
        {
            "embeddings": 1e-4,
            "embeddings/no_decay": 1e-4,
            "layers": 1e-3,
            "layers/no_decay": 1e-3,
            "head": 1e-2,
            "head/no_decay": 1e-2,
        }
    )


def test_an_optimizer_of_ones_own_trains_and_its_checkpoint_answers(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary")
    module = small(data, optimizer=lambda groups: SGD(groups, momentum=0.5))
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")

    loaded = TabularModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True)
    answers = Predictor(tmp_path / "module.ckpt", device="cpu").predict(data.frame)

    assert trainer.optimizers[0].defaults["momentum"] == 0.5
    assert len(answers) == len(data.frame)
    with pytest.raises(
        BadValueError, match=r"an optimizer function of your own.*load_from_checkpoint\(path, optimizer="
    ):
        quick_trainer().fit(loaded, data)


def test_an_optimizer_of_ones_own_may_be_passed_again(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary")
    trainer = quick_trainer()
    trainer.fit(small(data, optimizer=SGD), data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")

    loaded = TabularModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True, optimizer="adam")

    quick_trainer().fit(loaded, data)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut off", b"{}", b"root:x:0\n", b"R\n", b"age,paid\n1,no\n", None]
)
def test_a_file_that_is_no_whole_checkpoint_is_a_sentence(content: bytes | None, tmp_path: Path) -> None:
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, file)
    (tmp_path / "bad.ckpt").write_bytes(file.getvalue() if content is None else content)

    with pytest.raises(BadValueError, match="TabularModule: the file is damaged, holds more than plain data, or is no"):
        TabularModule.load_from_checkpoint(tmp_path / "bad.ckpt")


def test_a_weight_of_which_a_bit_changed_is_found(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data, path = tabular_data("binary"), tmp_path / "module.ckpt"
    trainer = quick_trainer()
    trainer.fit(small(data), data)
    trainer.save_checkpoint(path)
    weight = next(small(data).load_from_checkpoint(path).parameters()).detach().numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(weight, bytes([weight[0] ^ 1]) + weight[1:]))

    for load in (
        TabularModule.load_from_checkpoint,
        lambda file: quick_trainer().fit(small(data), data, ckpt_path=file),
    ):
        with pytest.raises(BadValueError, match=r"^TabularModule: '.*module.ckpt' is damaged \("):
            load(path)


def test_a_checkpoint_at_an_address_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = io.BytesIO()
    torch.save({"state_dict": Payload(tmp_path / "ran")}, file)

    with (
        serving({"/bad.ckpt": Page(file.getvalue())}) as server,
        pytest.raises(BadValueError, match="holds more than plain data"),
    ):
        TabularModule.load_from_checkpoint(f"{server}/bad.ckpt")

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"lr": 0},
            BadValueError,
            "TabularModule: a learning rate must be above zero, got 0. Pass a number such as 1e-3",
        ),
        ({"lr": -1e-3}, BadValueError, "a learning rate must be above zero, got -0.001"),
        ({"lr": float("nan")}, BadValueError, "a learning rate must be above zero, got nan"),
        ({"lr": (1e-3, 0.0)}, BadValueError, "a learning rate must be above zero, got 0.0"),
        ({"lr": "fast"}, BadValueError, "rates must be numbers, got 'fast'"),
        ({"lr": [None]}, BadTypeError, "a learning rate must be a number, got None"),
        ({"optimizer": "adamww"}, UnknownNameError, "no optimizer named 'adamww'. Choices: adamw, adam, rmsprop, sgd"),
        ({"optimizer": 3}, BadTypeError, "optimizer must be a name or a function, got 3"),
        ({"weight_decay": -1}, BadValueError, "weight_decay must be at least 0, got -1. Pass 0 for none"),
        ({"weight_decay": "0.1"}, BadTypeError, "weight_decay must be a number, got '0.1'"),
        ({"decay": "L2"}, UnknownNameError, "no decay named 'L2'. Choices: decoupled, l2"),
        ({"momentum": 1.5}, BadValueError, r"momentum must lie in \[0, 1\), got 1.5"),
        ({"momentum": None}, BadTypeError, r"momentum must be a number in \[0, 1\), got None"),
    ],
)
def test_a_wrong_setting_is_a_sentence_when_the_module_is_built(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    schema = tabular_data("binary").schema

    with pytest.raises(error, match=message):
        TabularModule(schema, **settings)


def test_a_list_of_rates_of_another_length_is_refused_before_training(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")

    with pytest.raises(BadValueError, match="3 layer groups need 3 rates, got 2"):
        quick_trainer().fit(small(data, lr=[0.1, 0.2]), data)


def test_a_setting_that_is_no_plain_data_is_refused() -> None:
    class Odd(Linear):
        def __init__(self, schema: SchemaSource, hook: Any) -> None:
            super().__init__(schema)
            self.hook = hook

    with pytest.raises(BadTypeError, match=r"Odd: settings must be plain data, got Tensor.*Pass numbers, strings"):
        Odd(tabular_data("binary").schema, hook=torch.ones(2))


def test_the_schema_may_be_the_dict_it_was_saved_as() -> None:
    schema = tabular_data("binary").schema

    module = TabularModule(schema.to_dict())

    assert module.schema == schema
    assert module.task == schema.task


def test_another_schema_than_the_datas_names_the_column_that_differs(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")
    frame = make_frame()
    frame["z"] = frame["z"] * 2
    other = tabular_data("binary", frame)

    with pytest.raises(
        BadValueError,
        match=r"TabularModule: the data was prepared for another schema; what differs: continuous 'z'. Pass",
    ):
        quick_trainer().validate(small(data), other)


@pytest.mark.parametrize(
    ("one", "other", "difference"), [("binary", "multiclass", "target"), ("binary", "binary_weighted", "target")]
)
def test_another_target_is_a_difference(one: str, other: str, difference: str, quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadValueError, match=f"what differs: {difference}"):
        quick_trainer().fit(small(tabular_data(one)), tabular_data(other))


def test_a_loss_that_is_no_number_warns(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("regression")
    module = small(data, lr=1e30, optimizer="sgd", batch_norm=False, continuous_norm=False)

    with pytest.warns(UserWarning, match="TabularModule: the training loss is (nan|inf) in epoch 0"):
        quick_trainer().fit(module, data)


# A module of the user's own.


def test_a_users_own_module_trains_and_answers(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary")
    module = Linear(data.schema, scale=2.0)
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    loaded = Linear.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True)
    answers = Predictor(tmp_path / "own.ckpt", device="cpu", module_class=Linear).predict(data.frame)

    assert loaded.scale == 2.0
    predicted = gather(trainer.predict(module, data))
    np.testing.assert_allclose(
        answers[["probability_no", "probability_yes"]].to_numpy()[predicted["index"]],
        predicted["predictions"].numpy(),
        rtol=1e-6,
    )


def test_a_parameter_that_no_layer_group_holds_is_named(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")

    with pytest.raises(BadValueError, match=r"HalfGrouped: 1 parameter in no layer group: layer.bias"):
        quick_trainer().fit(HalfGrouped(data.schema), data)


def test_a_module_that_answers_neither_question_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SupervisedModule(  # type: ignore[abstract]
            tabular_data("binary").schema,
            lr=1.0,
            optimizer="sgd",
            weight_decay=0.0,
            decay="l2",
            decay_norms=False,
            momentum=0.0,
        )


# The mean over an epoch, exact over many steps and fresh after a reset.


def mean_of(running: RunningMean) -> float:
    total, weight = running.totals()
    return float(total / weight)


def test_rows_weigh_alike_whatever_the_size_of_their_batch_and_a_reset_forgets_them() -> None:
    values, running, weight = torch.rand(100, requires_grad=True), RunningMean(), torch.tensor(32.0)

    for batch in torch.split(values, 32):
        running.update(batch.mean(), weight if len(batch) == 32 else len(batch))

    torch.testing.assert_close(mean_of(running), float(values.detach().mean()))
    assert weight.item() == 32  # left as it was
    assert not running.totals().requires_grad
    running.reset()
    assert running.totals().tolist() == [0.0, 0.0]


def test_many_small_steps_lose_no_digits() -> None:
    running, step = RunningMean(), torch.tensor(0.1, dtype=torch.bfloat16)

    for _ in range(5_000):
        running.update(step, torch.tensor(1.0, dtype=torch.bfloat16))

    assert running.totals().tolist() == [5_000 * float(step), 5_000.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own reading of it
def test_a_compiled_module_logs_the_metrics_of_a_plain_one_and_is_compiled_no_more_often_in_more_steps(
    quick_trainer: MakeTrainer,
) -> None:
    torch.compiler.reset()
    counters.clear()
    data, logged = tabular_data("binary", make_frame(60)), []
    plain, graphs = small(data), []
    compiled: Any = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    count = LambdaCallback(on_train_batch_end=lambda *_: graphs.append(counters["stats"]["unique_graphs"]))
    for module in (plain, compiled):
        trainer = quick_trainer(max_epochs=2, callbacks=[count] if module is compiled else [])
        trainer.fit(module, data)
        logged.append({name: pytest.approx(float(value)) for name, value in trainer.callback_metrics.items()})

    assert logged[0] == {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/accuracy", "val/f1"} <= {*logged[0]}
    assert len(graphs) == 6
    assert 0 < graphs[1] == graphs[2]  # after the second step
    assert graphs[3] == graphs[5]  # after the validation between the epochs


class Narrow(Linear):
    """A user's own module that takes fewer settings than SupervisedModule."""

    def __init__(self, schema: SchemaSource, *, lr: float = 0.1) -> None:
        super().__init__(schema, scale=0.5, lr=lr)


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
def test_a_command_line_of_a_users_own_keeps_the_settings_that_a_subclass_does_not_take(tmp_path: Path) -> None:
    class Linked(LightningCLI):
        @override
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.link_arguments("data.schema", "model.schema", apply_on="instantiate")

    make_frame(60)[["x", "paid"]].to_csv(tmp_path / "rows.csv", index=False)
    quiet = "--trainer.logger=false --trainer.enable_progress_bar=false --trainer.accelerator=cpu --data.verbose=false"
    words = f"fit --model.lr=0.2 --data.source={tmp_path}/rows.csv --data.target=paid --trainer.max_epochs=1 {quiet}"
    folder = f"--trainer.default_root_dir={tmp_path}"
    cli = Linked(
        Narrow, TabularDataModule, args=[*words.split(), folder], seed_everything_default=0, save_config_callback=None
    )

    trainer: Any = cli.trainer
    assert {name: cli.model.hparams[name] for name in ("lr", "weight_decay", "momentum")} == {
        "lr": 0.2,
        "weight_decay": 0.0,
        "momentum": 0.0,
    }
    path = trainer.checkpoint_callback.best_model_path
    again = Narrow.load_from_checkpoint(path)
    assert torch.equal(again.layer.weight, cli.model.layer.weight)
    assert again.hparams["lr"] == 0.2
    more = [*words.replace("fit", "validate").replace("--model.lr=0.2", "").split(), folder, f"--ckpt_path={path}"]
    validated = Linked(
        Narrow, TabularDataModule, args=more, seed_everything_default=0, save_config_callback=None
    )  # which passes the checkpoint's settings to the class
    assert torch.equal(validated.model.layer.weight, cli.model.layer.weight)


def test_a_module_takes_what_has_a_schema(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(60))

    module = TabularModule(data)

    assert module.schema == data.schema
    quick_trainer(limit_train_batches=1, limit_val_batches=1).fit(module, data)
    with pytest.raises(BadTypeError, match=r"TabularModule: a schema is needed, got DataFrame\. Pass data"):
        TabularModule(make_frame(3))


def test_every_tensor_of_a_batch_is_there_to_a_type_checker() -> None:
    assert not Batch.__optional_keys__, "pyright refuses batch['continuous'] of a key that may be missing"


def test_a_batch_that_lacks_what_the_module_needs_is_one_sentence(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(60))
    batch: dict[str, Tensor] = dict(next(iter(data.loader("val"))))  # type: ignore[arg-type]
    module = small(data)

    def loader(*without: str) -> DataLoader[Any]:
        rows = [{name: tensor[row] for name, tensor in batch.items() if name not in without} for row in range(8)]
        return DataLoader(rows, batch_size=4)  # type: ignore[arg-type]  # a list is a dataset

    quick_trainer().fit(module, loader("index"), loader("index"))
    for key in ("categorical", "continuous", "target"):
        with pytest.raises(BadValueError, match=f"^TabularModule: a batch must be a dict with '{key}', got 'i"):
            quick_trainer(num_sanity_val_steps=0).fit(module, loader(key), loader())
    with pytest.raises(BadValueError, match=r"^TabularModule: a batch must be a dict with 'index', got 'c"):
        quick_trainer().predict(module, loader("index"))
    pairs = DataLoader(TensorDataset(torch.ones(8, 2), torch.ones(8)))
    for num_sanity_val_steps in (0, 1):
        with pytest.raises(BadValueError, match="must be a dict with 'continuous', got list"):
            quick_trainer(num_sanity_val_steps=num_sanity_val_steps).fit(small(data), pairs, pairs)
    batch["target"] = batch["target"] + 1
    with pytest.raises(
        BadValueError, match=r"^TabularModule: the target of a batch must be class codes \(B,\) from 0 to 1"
    ):
        quick_trainer(num_sanity_val_steps=0).fit(small(data), loader(), loader())
