"""Batches are asked one by one and put together as one frame."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.errors import BadValueError
from tabvision.inference import Predictor
from tabvision.inference.batches import Inputs, blend, predict_all
from tabvision.modules import SupervisedModule
from tabvision.nets.layer_groups import LayerGroup
from tabvision.preprocess import to_arrays
from tabvision.schema import Image
from tests.made.trained import raw, trained


class Both(SupervisedModule):
    """Reads columns and an image."""

    def __init__(self, schema: object) -> None:
        super().__init__(schema)  # type: ignore[arg-type]
        self.net = nn.Linear(len(self.schema.continuous) + 3, self.task.num_outputs)

    @override
    def forward(self, batch: Batch) -> Tensor:
        colors = batch["image"].float().mean(dim=(2, 3)) / 255
        logits: Tensor = self.net(torch.cat([batch["continuous"], colors], dim=1))
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup("net", (self.net,))]


def test_a_module_that_reads_columns_and_images_is_asked_with_a_table(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Both(dataclasses.replace(trained("regression")[1].schema, image=Image(size=(4, 4), name="photo")))
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 50 * number, np.uint8))
    frame = raw(4).assign(photo=[str(tmp_path / f"{number}.png") for number in range(4)])
    asked = Predictor(module, device="cpu")

    answers = asked.predict(frame)

    continuous = torch.from_numpy(to_arrays(module.schema, frame)[0])[:3]
    colors = torch.tensor([[0.0], [50.0], [100.0]]).expand(3, 3) / 255
    expected = module.task.activate(module.net(torch.cat([continuous, colors], dim=1)))
    np.testing.assert_allclose(answers["prediction"][:3], expected.detach()[:, 0], rtol=1e-5)
    assert answers["prediction"].isna().tolist() == [False, False, False, True]
    assert answers["error"].iloc[3] == "no such file"
    assert answers.attrs["unseen"] == {"job": 1}


def test_answers_are_put_where_their_rows_were() -> None:
    inputs = Inputs(5, {"continuous": np.arange(5, dtype=np.float32)[:, None]})

    for batch_size in (1, 2, 5, 9):
        found = predict_all(lambda arrays: arrays["continuous"] + 1, inputs, num_answers=1, batch_size=batch_size)
        assert found[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_wide_table_is_answered_in_batches_of_fewer_rows() -> None:
    narrow, wide = (Inputs(300, {"continuous": np.zeros((300, columns), np.float32)}) for columns in (8, 4096))

    assert [len(arrays["index"]) for arrays in narrow.batches()] == [300]
    assert [len(arrays["index"]) for arrays in wide.batches()] == [128, 128, 44]


def test_no_rows_have_answers_as_wide_as_others() -> None:
    inputs = Inputs(0, {"continuous": np.empty((0, 2), np.float32)})

    assert predict_all(lambda arrays: arrays["continuous"], inputs, num_answers=3).shape == (0, 3)


def test_an_answer_that_is_no_number_is_refused() -> None:
    inputs = Inputs(2, {"continuous": np.array([[1.0], [np.nan]], np.float32)})

    with pytest.raises(BadValueError, match="answers to 1 row are not finite"):
        predict_all(lambda arrays: arrays["continuous"], inputs, num_answers=1)


def test_shown_columns_stand_before_the_answers() -> None:
    asked = Predictor(trained("binary")[2], device="cpu")
    inputs = dataclasses.replace(asked.read(raw(4)), shown={"name": list("abcd")}, index=pd.Index([7, 8, 9, 6]))

    answers = asked.predict(inputs)

    assert list(answers) == ["name", "label", "probability_no", "probability_yes"]
    assert answers.index.tolist() == [7, 8, 9, 6]


# Answers over several views are blended as fastai blends them.


DRAW = np.random.default_rng(0)
PLAIN, VIEWS = DRAW.dirichlet(np.ones(3), 5), DRAW.dirichlet(np.ones(3), (4, 5))


def test_the_mean_of_the_views_is_pulled_towards_the_plain_answer() -> None:
    # fastai 2.8, Learner.tta: torch.lerp(aug_preds.mean(0), preds, beta)
    expected = torch.lerp(torch.from_numpy(VIEWS).mean(0), torch.from_numpy(PLAIN), 0.25)

    assert blend(PLAIN, VIEWS) == pytest.approx(expected.numpy())


def test_a_quarter_is_the_plain_views_by_default_and_probabilities_stay_so() -> None:
    blended = blend(PLAIN, VIEWS)

    assert blended == pytest.approx(0.75 * VIEWS.mean(axis=0) + 0.25 * PLAIN)
    assert blended.sum(axis=1) == pytest.approx(1)


def test_the_largest_of_all_views_may_be_taken() -> None:
    # fastai 2.8: torch.stack([preds, aug_preds.max(0)]).max(0)
    expected = np.concatenate([VIEWS, PLAIN[None]]).max(axis=0)

    assert np.array_equal(blend(PLAIN, VIEWS, use_max=True), expected)


def test_numbers_are_blended_as_probabilities_are_and_keep_their_precision() -> None:
    plain, views = np.array([[10.0], [-4.0]], np.float32), np.array([[[14.0], [0.0]]], np.float32)

    blended = blend(plain, views)

    assert blended.dtype == np.float32
    assert blended.tolist() == [[13.0], [-1.0]]
