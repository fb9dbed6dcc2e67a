"""What a run shows during the fit: a line per epoch, with a progress bar below it in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.cli.printing import format_number
from tabvision.lightning import Callback, TQDMProgressBar, TrainerFn


def progress_callbacks(refresh_rate: int, *, quiet: bool) -> list[Callback]:
    """Return the callbacks that show progress: none if quiet, and a bar only if a terminal can redraw it."""
    if quiet:
        return []
    bar: list[Callback] = [_Bar(refresh_rate=refresh_rate)] if sys.stdout.isatty() and sys.stderr.isatty() else []
    return [_HistoryLines(), *bar]  # lines print above the bar, so they come before its hook closes it


def show_progress(trainer: pl.Trainer) -> None:
    """Replace the default bar of an existing Trainer by this progress; keep a bar chosen by the user."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
    default = [callback for callback in callbacks if type(callback) is TQDMProgressBar]
    for callback in default:
        callbacks.remove(callback)
    shown = progress_callbacks(default[0].refresh_rate if default else 1, quiet=False)
    callbacks.extend(shown if default else shown[:1])


class _Bar(TQDMProgressBar):
    """One bar per epoch with only the latest loss, so that terminals do not truncate it; the history has the rest."""

    @override
    def init_sanity_tqdm(self) -> Any:
        return self._hidden(super().init_sanity_tqdm)

    @override
    def init_validation_tqdm(self) -> Any:
        in_fit = self.trainer.state.fn == TrainerFn.FITTING
        return self._hidden(super().init_validation_tqdm) if in_fit else super().init_validation_tqdm()

    def _hidden(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - a tqdm bar
        """Return a bar that is not drawn."""
        is_enabled = self.is_enabled
        self.disable()
        bar = make()
        if is_enabled:
            self.enable()
        return bar

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}")  # numbered as in the history

    @override
    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removesuffix("_step"): value for name, value in metrics.items() if name.endswith("_step")}


class _HistoryLines(Callback):
    """Print the loss and metrics of each epoch on one line, free of control characters for log files."""

    def __init__(self) -> None:
        self._waiting: int | None = None  # the epoch to print; its training metrics exist only after the hooks

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waiting = trainer.current_epoch

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: pl.Trainer) -> None:
        if self._waiting is None or not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        shown = [name for name in metrics if "/" in name and not name.endswith("_step") and not name.startswith("lr")]
        shown.sort(key=lambda name: (not name.startswith("train/"), not name.endswith("/loss"), name))
        line = "  ".join(
            [f"epoch {self._waiting + 1:>3}", *(f"{name} {format_number(metrics[name])}" for name in shown)]
        )
        self._waiting = None
        bar = trainer.progress_bar_callback
        if bar is not None:
            bar.print(line)
        else:
            print(line, flush=True)
