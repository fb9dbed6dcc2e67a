"""A line of history for each epoch, above the bar of a terminal and without one."""

import re

import pytest
import pytorch_lightning as pl

from tabvision.callbacks import OneCycle
from tabvision.cli import progress
from tabvision.cli.progress import progress_callbacks
from tabvision.lightning import TQDMProgressBar
from tabvision.modules import TabularModule
from tests.made.tables import quiet, table


@pytest.mark.parametrize("is_terminal", [True, False])
def test_each_epoch_leaves_a_line(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"{progress.__name__}.sys.{name}.isatty", lambda: is_terminal, raising=False)
    callbacks = progress_callbacks(1, quiet=False)
    assert any(isinstance(each, TQDMProgressBar) for each in callbacks) == is_terminal
    data = quiet(table())
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=is_terminal,
        callbacks=[OneCycle(), *callbacks],
        log_every_n_steps=1,
    )

    trainer.fit(TabularModule(data.schema), data)

    told = capsys.readouterr()
    lines = re.findall(r"epoch +(\d+)  train/loss [\d.]+  val/loss [\d.]+", told.out)
    assert lines == ["1", "2", "3"]
    names = ["train/loss", "val/loss", *sorted(name for name in trainer.callback_metrics if name.startswith("val/"))]
    for line in re.findall(r"epoch +\d+  .*", told.out):  # without steps and rates, which are logged as well
        assert re.findall(r"  (\S+) [\d.]+", line) == [*dict.fromkeys(names)]
    bars = re.findall(r"Epoch \d:[^\r\n]*", told.out + told.err)
    drawn = {bar.partition(":")[0] for bar in bars if "train/loss" in bar and "100%" in bar}
    assert drawn == ({f"Epoch {line}" for line in lines} if is_terminal else set())  # one numbering
    assert all("val/" not in bar for bar in bars)  # they would be cut


def test_a_quiet_run_shows_nothing() -> None:
    assert progress_callbacks(1, quiet=True) == []
