"""Going on with new categories, columns and classes: at first every old row is answered as before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback

from tabvision.callbacks import ExactResume, FitTable, OneCycle
from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.interpret import importance
from tabvision.modules import CollabModule, FusedModule, SupervisedModule, TabularModule, VisionModule
from tabvision.modules.growth import grown_schema
from tabvision.tasks import Binary, Multiclass
from tests.made.modules import different
from tests.made.pairs import Pair, make_frame, tabular_data
from tests.made.ratings import made_ratings, made_titles, ratings_data
from tests.made.tables import quiet
from tests.made.trainers import quiet_trainer, saved

NETS: list[dict[str, Any]] = [
    {},
    {"own_inputs": False, "member_widths": [16], "bin_parts": 2},
    {"bag": 2},
    {"net": "mlp"},
    {"numbers": "piecewise"},
    {"widths": []},
]


def rows(number: int, *, seed: int, letters: str = "klm", labels: str = "ab", more: bool = False) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "size": draw.normal(size=number).round(3),
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(number) % 90, unit="D"),
        "letter": draw.choice(list(letters), number),
        "side": draw.choice(["left", "right"], number),
    }
    if more:
        columns |= {"weight": draw.normal(size=number), "color": draw.choice(list("rgbcmyk"), number)}
    return pd.DataFrame(columns | {"kind": draw.choice(list(labels), number)})


def trained(data: Any, module: Any, **settings: Any) -> Any:
    quiet_trainer(callbacks=[OneCycle()], **settings).fit(module, data)
    return module.eval()


def first_fit(**settings: Any) -> TabularModule:
    data = quiet(rows(120, seed=1), "kind", split=0.2)
    module: TabularModule = trained(data, TabularModule(data.schema, **settings))
    return module


def probabilities(module: SupervisedModule, frame: pd.DataFrame, labels: str) -> np.ndarray[Any, np.dtype[Any]]:
    answers = Predictor(module).predict(frame, proba=True)
    found: np.ndarray[Any, np.dtype[Any]] = answers[[f"probability_{label}" for label in labels]].to_numpy()
    return found


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_old_rows_are_answered_the_same_to_the_bit_after_new_categories(settings: dict[str, Any]) -> None:
    known = first_fit(**settings)
    grown = known.grow(quiet(rows(90, seed=2, letters="lmnopqrstuvw"), "kind").schema)
    old = rows(120, seed=1)

    assert np.array_equal(probabilities(grown, old, "ab"), probabilities(known, old, "ab"))
    unknown = old.assign(letter="never seen")
    assert np.array_equal(  # a new category starts as the unknown one
        probabilities(grown, old.assign(letter="n"), "ab"), probabilities(known, unknown, "ab")
    )


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_new_columns_change_no_answer_and_new_classes_leave_the_ratios_of_the_others(settings: dict[str, Any]) -> None:
    known = first_fit(**settings)
    old = rows(120, seed=1, more=True)
    answers = probabilities(known, old, "ab")

    with_columns = known.grow(quiet(rows(90, seed=2, more=True), "kind").schema)
    grown = with_columns.grow(quiet(rows(90, seed=3, more=True, labels="abxy"), "kind").schema)
    again = grown.grow(quiet(rows(90, seed=4, more=True, labels="az"), "kind").schema)

    assert np.allclose(probabilities(with_columns, old, "ab"), answers, atol=1e-5, rtol=0)
    assert grown.schema.classes == ("a", "b", "x", "y")
    found = probabilities(grown, old, "abxy")
    assert np.allclose(found[:, 2:], 1e-3, rtol=1e-4)
    assert np.allclose(found[:, :2] / found[:, :2].sum(1, keepdims=True), answers, atol=1e-5, rtol=0)
    assert again.schema.target.grown == (2, 1)
    assert np.allclose(probabilities(again, old, "abxy") / 0.999, found, atol=1e-5, rtol=0)


def test_the_logits_of_a_network_are_scaled_once_also_where_it_has_grown() -> None:
    data = quiet(rows(60, seed=1), "kind")
    known = TabularModule(data.schema)
    torch.nn.init.normal_(known.get_parameter("net.direct.weight"))
    for module in (known, known.grow(quiet(rows(60, seed=3, labels="abx"), "kind").schema)):
        batch = next(iter(data.train_dataloader()))
        with torch.no_grad():
            before = module.eval().member_logits(batch)
            module.scale_logits(0.5)

            assert torch.allclose(module.member_logits(batch), 0.5 * before, atol=1e-6)


def test_a_grown_network_from_before_there_was_a_direct_layer_loads_with_one_at_zero() -> None:
    known = TabularModule(quiet(rows(60, seed=1), "kind").schema)
    grown = known.grow(quiet(rows(60, seed=3, labels="abx"), "kind").schema)
    torch.nn.init.normal_(grown.get_parameter("net.direct.weight"))

    grown.load_state_dict({name: each for name, each in grown.state_dict().items() if ".direct." not in name})

    assert not grown.get_parameter("net.direct.weight").any()


@pytest.mark.slow
def test_a_grown_network_answers_as_onnx(tmp_path: Path) -> None:
    frame = rows(60, seed=5, letters="kn", labels="abc", more=True)
    grown = first_fit(widths=[8]).grow(quiet(frame, "kind").schema)

    twin = OnnxPredictor(export(grown, tmp_path / "grown.onnx").path).predict(frame, proba=True)

    assert np.allclose(twin["probability_c"], Predictor(grown).predict(frame, proba=True)["probability_c"], atol=1e-5)


def test_a_grown_network_learns_what_is_new_and_answers_from_its_checkpoint(tmp_path: Path) -> None:
    frame = rows(200, seed=5, letters="kn", more=True)
    frame.loc[frame["letter"] == "n", "kind"] = "new"
    grown = first_fit().grow(quiet(frame, "kind").schema)

    quiet_trainer(max_epochs=12, callbacks=[FitTable()]).fit(grown, quiet(frame, "kind", schema=grown.schema))
    path = saved(grown, tmp_path / "grown.ckpt")
    predictor = Predictor(path)
    answers = predictor.predict(frame, proba=True)

    is_new = frame["letter"] == "n"
    assert (answers["label"][is_new] == "new").mean() > 0.95
    assert (answers["label"][~is_new] == "new").mean() < 0.05
    assert importance(predictor, frame, repeats=2).set_index("column")["importance"].idxmax() == "letter"


def test_a_network_of_a_recipe_or_of_other_numbers_grows_as_any_other() -> None:
    known = first_fit().double()
    known.hparams.update({"_class_path": "tabvision.modules.TabularModule", "_instantiator": "a command line's"})

    grown = known.grow(quiet(rows(90, seed=2, more=True, labels="abc"), "kind").schema)

    assert {parameter.dtype for parameter in grown.parameters()} == {torch.float64}
    assert "_class_path" not in grown.hparams


def test_the_hundredth_growth_by_new_classes_is_the_last() -> None:
    known = quiet(rows(60, seed=1), "kind").schema
    grown = replace(known, target=replace(known.target, grown=(1,) * 100))

    with pytest.raises(BadValueError, match=r"learned new classes 100 times, which is the limit. Train a new one"):
        grown_schema(grown, quiet(rows(60, seed=1, labels="abc"), "kind").schema)


def test_a_grown_fit_resumes_to_the_bit(tmp_path: Path) -> None:
    def fit(ckpt: Path | None = None) -> TabularModule:
        torch.manual_seed(3)
        frame = rows(96, seed=5, letters="kn", labels="abc", more=True)
        grown = TabularModule(quiet(rows(120, seed=1), "kind").schema, widths=[8]).grow(quiet(frame, "kind").schema)
        data = quiet(frame, "kind", schema=grown.schema, batch_size=16)
        save = LambdaCallback(
            on_train_batch_end=lambda trainer, *_: trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")
        )
        trainer = quiet_trainer(max_epochs=3, callbacks=[ExactResume(), save])
        trainer.fit(grown, data, ckpt_path=ckpt, weights_only=True)
        return grown

    whole = fit().state_dict()

    assert not different(whole, fit(tmp_path / "4.ckpt").state_dict())


@pytest.mark.parametrize("settings", [{"kind": "dot"}, {"kind": "neural"}, {"rowwise": True, "lr": 1e-2}], ids=str)
def test_ratings_go_on_with_new_users_and_items(settings: dict[str, Any]) -> None:
    frame = made_ratings(30, 20)
    old, new = frame[frame["who"] < 120], frame[frame["who"] >= 110].assign(film=lambda it: it["film"] + 5)
    data = ratings_data(old)
    known = trained(data, CollabModule(data.schema, **settings))
    grown = known.grow(ratings_data(new).schema)

    pairs = old[["who", "film"]]
    before, after = (Predictor(module).predict(pairs)["prediction"].to_numpy() for module in (known, grown))
    assert np.array_equal(before, after)
    assert torch.equal(grown.seen, known.seen)
    trained(ratings_data(new, schema=grown.schema), grown)
    assert grown.seen.shape[1] > known.seen.shape[1]


@pytest.mark.parametrize("has_titles", [(True, False), (False, True)])
def test_items_keep_their_titles_if_other_ratings_have_none(has_titles: tuple[bool, bool]) -> None:
    frame = made_ratings(30, 20)
    films = [frame[frame["film"] <= 12], frame[frame["film"] > 8]]
    old, new = (
        ratings_data(rows, titles=made_titles() if has else None).schema
        for rows, has in zip(films, has_titles, strict=True)
    )

    (item,) = (each for each in CollabModule(old).grow(new).schema.categorical if each.name == "film")

    titled = range(1, 13) if has_titles[0] else range(13, 21)
    assert item.titles == tuple(f"Film No. {film}" if film in titled else str(film) for film in item.vocabulary)


@pytest.mark.parametrize("kind", [VisionModule, FusedModule])
def test_networks_for_images_learn_new_classes(kind: type[SupervisedModule]) -> None:
    pair, frame = Pair(kind, "multiclass"), make_frame()
    first = pair.data(frame[frame["kind"] != "mid"].reset_index(drop=True))
    known = pair.module(first.schema).eval()
    every = pair.data(frame)

    grown = known.grow(every.schema).eval()

    assert grown.schema.classes == ("high", "low", "mid")
    batch = next(iter(first.val_dataloader()))
    with torch.no_grad():
        before, after = known(batch), grown(batch).softmax(1)
    odds = known.task.activate(before)
    assert torch.allclose(after[:, 2], torch.tensor(1e-3), atol=1e-6)
    assert torch.allclose(after[:, :2] / 0.999, odds, atol=1e-5)
    trained(pair.data(frame, schema=grown.schema), grown.train())


def test_a_grown_network_for_images_trains_its_head_faster_unless_its_user_has_said_how() -> None:
    pair, frame = Pair(VisionModule, "multiclass"), make_frame()
    few, every = (pair.data(rows).schema for rows in (frame[frame["kind"] != "mid"].reset_index(drop=True), frame))
    known = pair.module(few)
    known.hparams["lr"] = 2e-3

    rates = [group["lr"] for group in known.grow(every).configure_optimizers().param_groups]

    assert (rates[0], rates[-1]) == pytest.approx((1e-4, 1e-2))
    assert known.grow(few).hparams["lr"] == 2e-3  # nothing new to learn
    known.hparams["lr"] = (1e-5, 1e-3)
    assert known.grow(every).hparams["lr"] == (1e-5, 1e-3)


def test_labels_of_a_row_and_ranges_of_numbers_grow(caplog: pytest.LogCaptureFixture) -> None:
    frame = make_frame()
    some = frame.assign(tags=frame["tags"].str.replace("c", "").str.split().str.join(" "))
    known = Pair(TabularModule, "multilabel_text").module(tabular_data("multilabel_text", some).schema).eval()
    grown = known.grow(tabular_data("multilabel_text", frame).schema)

    predictors = [Predictor(module) for module in (known, grown)]
    assert all(
        predictor.module for predictor in predictors
    )  # whose networks then answer, to the bit, and not folded ones
    before, after = (predictor.predict(frame, proba=True) for predictor in predictors)
    assert np.array_equal(before[["probability_a", "probability_b"]], after[["probability_a", "probability_b"]])
    assert np.allclose(after["probability_c"], 1e-3)
    with caplog.at_level("WARNING", "tabvision"):
        grown_task = Binary(threshold=0.3).grow(Multiclass(3), 3)
    assert grown_task == Multiclass(3)
    assert "The threshold 0.3 no longer applies" in caplog.text
    low, high = tabular_data("regression", frame), tabular_data("regression", frame.assign(pay=frame["pay"] + 1e6))
    wide = TabularModule(low.schema).grow(high.schema).schema.target
    assert (wide.low, wide.high) == (low.schema.target.low, high.schema.target.high)


def test_rows_that_the_network_cannot_go_on_with_are_refused() -> None:
    known = first_fit()
    other_kind = rows(90, seed=2).assign(size=lambda it: it["size"].gt(0).map({True: "big", False: "small"}))
    cases = {
        "'size' is a number to the network and a category": quiet(other_kind, "kind").schema,
        "predicts 'kind'": quiet(rows(90, seed=2), "side").schema,
        "knows labels such as 'a'": quiet(rows(90, seed=2).assign(kind=lambda it: it["kind"].map(ord)), "kind").schema,
    }
    for sentence, schema in cases.items():
        with pytest.raises(BadValueError, match=sentence):
            known.grow(schema)
    own = TabularModule(known.schema, net=torch.nn.Identity())
    with pytest.raises(BadValueError, match="a network of your own"):
        own.grow(known.schema)
