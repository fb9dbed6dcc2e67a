"""skorch around the same net in plain torch: scikit-learn encodes the columns, skorch collates row by row and trains."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peer_runs.protocol import main, read_frames


def run(spec: dict[str, Any]) -> tuple[list[float], int, Any]:
    import numpy as np
    import torch

    skorch: Any = importlib.import_module("skorch")
    callbacks: Any = importlib.import_module("skorch.callbacks")
    torch.manual_seed(spec["seed"])
    inputs, target, cardinalities = _encoded(spec)
    is_classes = spec["metric"] == "auroc"
    seconds: list[float] = []
    steps = spec["epochs"] * -(-len(target) // spec["batch_size"])
    cycle = callbacks.LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR, step_every="batch", max_lr=spec["lr"], total_steps=steps + 1
    )
    net = skorch.NeuralNet(
        _net(cardinalities, len(spec["continuous"]), spec["dropout"]),
        torch.nn.BCEWithLogitsLoss if is_classes else torch.nn.MSELoss,
        optimizer=torch.optim.AdamW,
        lr=spec["lr"],
        max_epochs=spec["epochs"],
        batch_size=spec["batch_size"],
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[("cycle", cycle), ("clock", _clock(callbacks, seconds))],
        verbose=0,
    )
    net.fit(inputs["train"], target)
    return seconds, len(target), np.asarray(net.predict(inputs["validation"]))[:, -1]  # the second probability


def _encoded(spec: dict[str, Any]) -> tuple[dict[str, Any], Any, list[int]]:
    import numpy as np

    preprocessing: Any = importlib.import_module("sklearn.preprocessing")
    frames = dict(zip(("train", "validation"), read_frames(spec), strict=True))
    encoder = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    scaler = preprocessing.StandardScaler()
    encoder.fit(frames["train"][spec["categorical"]])
    scaler.fit(frames["train"][spec["continuous"]])
    inputs = {
        name: {
            "continuous": scaler.transform(frame[spec["continuous"]]).astype(np.float32),
            "categorical": encoder.transform(frame[spec["categorical"]]).astype(np.int64) + 1,
        }
        for name, frame in frames.items()
    }
    target = frames["train"][spec["target"]]
    target = (target == "yes") if spec["metric"] == "auroc" else target
    return inputs, target.to_numpy(np.float32)[:, None], [len(found) + 1 for found in encoder.categories_]


def _net(cardinalities: list[int], num_continuous: int, dropout: float) -> Any:  # noqa: ANN401 - torch is imported only later
    import torch
    from torch import nn

    widths = [min(600, round(1.6 * number**0.56)) for number in cardinalities]

    class Net(nn.Module):
        """Embeddings concatenated with normalized numbers, then two layers."""

        def __init__(self) -> None:
            super().__init__()
            pairs = zip(cardinalities, widths, strict=True)
            self.tables = nn.ModuleList(nn.Embedding(number, width) for number, width in pairs)
            self.norm = nn.BatchNorm1d(num_continuous)
            sizes = [sum(widths) + num_continuous, 200, 100]
            blocks: list[nn.Module] = []
            for size, width in itertools.pairwise(sizes):
                blocks += [nn.Linear(size, width, bias=False), nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(dropout)]
            self.layers = nn.Sequential(*blocks, nn.Linear(sizes[-1], 1))

        def forward(self, continuous: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
            """Return one logit or number per row."""
            found = [table(codes) for table, codes in zip(self.tables, categorical.unbind(1), strict=True)]
            logits: torch.Tensor = self.layers(torch.cat([*found, self.norm(continuous)], dim=1))
            return logits

    return Net


def _clock(callbacks: Any, seconds: list[float]) -> Any:  # noqa: ANN401 - skorch has no types
    class TrainingClock(callbacks.Callback):  # type: ignore[misc]  # the base class is known at run time
        """Record the seconds of each epoch."""

        def on_epoch_begin(self, net: object, **kwargs: object) -> None:  # noqa: ARG002 - a hook's signature
            """Note when an epoch starts."""
            self.started = time.perf_counter()

        def on_epoch_end(self, net: object, **kwargs: object) -> None:  # noqa: ARG002
            """Record how long it took."""
            seconds.append(time.perf_counter() - self.started)

    return TrainingClock()


if __name__ == "__main__":
    main(["skorch", "scikit-learn"], run)
