"""What is timed, and what is not."""

import itertools

import pandas as pd

from benchmarks.clock import TrainingClock
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tests.made.trainers import MakeTrainer


def test_each_epoch_is_timed_without_its_validation(quick_trainer: MakeTrainer) -> None:
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5] * 8, "paid": ["no", "yes"] * 16})
    data = TabularDataModule(frame, "paid", batch_size=8, verbose=False)
    clock = TrainingClock(now=map(float, itertools.count()).__next__)  # a second passes whenever it is looked at

    quick_trainer(max_epochs=3, callbacks=[clock], num_sanity_val_steps=0).fit(TabularModule(data.schema), data)

    assert clock.epoch_seconds == [2.0, 2.0, 2.0]  # three looks after the start, one of them at the validation's end
