"""All predictions of a run in one place, every row once, in the order of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from tabvision.errors import BadTypeError, BadValueError, count


def gather(outputs: Sequence[Any] | None) -> dict[str, Tensor]:
    """Joins what `trainer.predict` returned, over batches and ranks, sorted by row number.

    Every rank gets the whole. Under a strategy that starts its processes by spawning, call it inside the run.

    Args:
        outputs: The list that `trainer.predict(...)` returned, for one loader.

    Shape:
        - predictions: (R, C) or (R, T) float32
        - index: (R,) int64, rising

    Raises:
        BadTypeError: The outputs are not those of a tabvision module.
        BadValueError: A row came twice.

    Example:
        >>> batches = [{"predictions": torch.ones(1, 2), "index": torch.tensor([row])} for row in (1, 0)]
        >>> gather(batches)["index"].tolist()
        [0, 1]
    """
    batches = list(outputs or [])
    if not all(isinstance(batch, dict) and {"predictions", "index"} <= batch.keys() for batch in batches):
        kinds = sorted({type(batch).__name__ for batch in batches})
        remedy = "Pass what trainer.predict(module, datamodule) returned for one loader of a tabvision module"
        raise BadTypeError("gather", f"each output must be a dict with predictions and index, got {kinds}", remedy)
    shares = _over_ranks({name: _joined(batches, name) for name in ("predictions", "index")})
    shares = [share for share in shares if len(share["index"])]  # a rank without rows does not know how wide they are
    joined = {name: torch.cat([share[name] for share in shares]) for name in ("predictions", "index")} if shares else {}
    if not joined:
        return {"predictions": torch.empty(0, 0), "index": torch.empty(0, dtype=torch.int64)}
    index, order = joined["index"].sort()
    if repeated := int((index.diff() == 0).sum()):
        problem = f"each row must come once, but {count(repeated, 'row')} came again"
        raise BadValueError("gather", problem, "Gather one call of trainer.predict at a time")
    return {"predictions": joined["predictions"][order], "index": index}


def _joined(batches: list[dict[str, Tensor]], name: str) -> Tensor:
    return torch.cat([batch[name].cpu() for batch in batches]) if batches else torch.empty(0)


def _over_ranks(share: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return [share]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, share)
    return shares
