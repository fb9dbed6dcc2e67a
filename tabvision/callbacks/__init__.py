"""Callbacks, each the owner of one quantity; they serve any LightningModule."""

from tabvision.callbacks.one_cycle import OneCycle

__all__ = ["OneCycle"]
