"""Wrapping a model again under DDP, after the set of trainable parameters changed.

DDP reduces the gradients of those parameters that wanted one when it wrapped the model. A layer that thaws later is never
synchronized, and the replicas silently drift apart. Wrapping anew costs some 0.1 s; frozen gradients are never reduced.
"""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from tabvision.errors import BadValueError


def check_strategy(who: str, trainer: pl.Trainer) -> None:
    """Refuses what cannot be staged.

    Raises:
        BadValueError: DeepSpeed, FSDP, model parallelism, or a gradient hook with a state of its own.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        problem = (
            f"layers cannot be thawed in stages under {type(strategy).__name__}, which shards what trains at the start"
        )
        raise BadValueError(who, problem, 'Use strategy="ddp", or train every layer from the start')
    if isinstance(strategy, DDPStrategy) and getattr(strategy, "_ddp_comm_state", None) is not None:
        problem = "a DDP communication hook with a state would lose it when layers thaw"
        raise BadValueError(who, problem, "Leave the hook out, or use one without a state")


def wrap_again(trainer: pl.Trainer) -> None:
    """Wraps the model again under DDP; other strategies need nothing."""
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy) or strategy.model is strategy.lightning_module:
        return
    strategy.model = strategy.lightning_module
    strategy._pl_static_graph_delay_done = False  # noqa: SLF001 - as when the strategy first wrapped; a test guards it
    strategy.configure_ddp()
