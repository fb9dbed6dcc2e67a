"""The checks of `on_gpu.py`: each returns named cases, and a case returns facts or raises an error that explains itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, distributed
from typing_extensions import override

from benchmarks.gpu_cases import INPUTS, NETS, Cases, Facts, Net, Site
from benchmarks.gpu_speed import speed
from tabvision.augment.warp import warp_batch
from tabvision.callbacks import ExactResume, FineTune, FitTable, FrozenFeatures, OneCycle, Unfreeze
from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor, Predictor, export

GRAY_LEVELS = 3.0  # mean difference between augmenting on the device, which interpolates twice, and in threads
KERNEL_GRAY_LEVELS = 0.5  # largest difference between a warp on the device and on the CPU
ANSWERS = {
    "table": 1e-4,
    "ratings": 1e-4,
    "images": 1e-2,
    "both": 1e-2,
}  # for probabilities; cuDNN convolves in TF32, with 10 bits
COMPILED = 5e-3  # for logits, relative to the largest; TF32 as above
PREDICTED = {
    "packed": "regression",
    "mlp": "multiclass",
    "vision": "multiclass",
    "fused": "binary",
    "dot": "regression",
    "neural": "binary",
}


class FailedCheckError(Exception):
    """A check found something wrong."""


def require(holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise FailedCheckError(sentence)


def fits(site: Site) -> Cases:
    """Fit every module briefly with every target in every precision: the loss must be finite and fall."""
    return {
        f"{name}, {target}, {precision}": partial(_short_fit, site, net, target, precision)
        for name, net in NETS.items()
        for target in net.targets
        for precision in site.precisions
    }


def _short_fit(site: Site, net: Net, target: str, precision: str) -> Facts:
    data = site.data(net, target)
    module, losses = site.module(net, data), _Losses()
    trainer = site.trainer(site.epochs(data), OneCycle(), losses, precision=precision)
    trainer.fit(module, data)
    first, last = losses.of_epochs()
    val = float(trainer.callback_metrics["val/loss"])
    require(bool(np.isfinite([first, last, val]).all()), f"the losses are {first}, {last} and {val} in validation")
    require(last < first, f"the training loss is {first:.4g} in the first epoch and {last:.4g} in the last")
    infinite = [name for name, value in module.named_parameters() if not value.isfinite().all()]
    require(not infinite, f"parameters are not finite after the fit: {', '.join(infinite)}")
    return {"first_loss": first, "last_loss": last, "val_loss": val}


@final
class _Losses(pl.Callback):
    """Record the training loss of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Tensor]] = []

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: object, batch_idx: int
    ) -> None:
        self.steps.append((trainer.current_epoch, outputs["loss"].detach()))

    def of_epochs(self) -> tuple[float, float]:
        """Return the mean loss of the first and of the last epoch."""
        ends = (self.steps[0][0], self.steps[-1][0])
        first, last = (torch.stack([loss for epoch, loss in self.steps if epoch == end]).mean() for end in ends)
        return float(first), float(last)


@final
class _BodyWatch(pl.Callback):
    """Record for each epoch whether the body's weights have changed."""

    def __init__(self) -> None:
        self.changed: list[bool] = []
        self._before = torch.empty(0)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = _weights(pl_module)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.changed.append(not torch.equal(_weights(pl_module), self._before))


def _weights(module: Any) -> Tensor:  # noqa: ANN401 - a VisionModule
    """Return the body's weights without its norms, which train while it is frozen."""
    return torch.cat([weight.detach().flatten().cpu() for weight in module.body.parameters() if weight.ndim > 1])


def folded(site: Site) -> Cases:
    """Fit small tables with folds, like the command: the best average is kept, and its out-of-fold loss is finite."""
    few = site.frame.iloc[: min(len(site.frame), 600)]
    return {
        f"{name}, {target}, {precision}": partial(_folded, site, name, target, precision, few)
        for name, target in (("packed", "regression"), ("packed", "multiclass"), ("fused", "regression"))
        for precision in site.precisions
    }


def _folded(site: Site, name: str, target: str, precision: str, rows: pd.DataFrame) -> Facts:
    net, fit = NETS[name], FitTable()
    data = site.data(net, target, rows, split=None)
    frozen = [Unfreeze({0: 2}), FrozenFeatures()] if name == "fused" else []
    trainer = site.trainer(4, *frozen, fit, precision=precision)
    trainer.fit(site.module(net, data), data)
    loss = float(trainer.callback_metrics["oof/loss"])
    require(np.isfinite(loss), f"the loss out of fold is {loss}")
    return {"loss": loss}


def fine_tune(site: Site) -> Cases:
    """Run FineTune past its unfreezing: the body stays fixed while it is frozen, and trains afterwards."""
    settings = {precision: partial(_fine_tuned, site, precision) for precision in site.precisions}
    return {
        **settings,
        "frozen body in bfloat16": partial(_fine_tuned, site, "32-true", frozen_bf16=True),
        "features computed once": partial(_fine_tuned, site, "32-true", FrozenFeatures(views=2)),
        **({"sharded": partial(_sharded, site)} if site.device.type == "cuda" else {}),  # torch cannot shard on a CPU
    }


def _sharded(site: Site) -> Facts:
    """Use FSDP: stages are refused with a sentence, and without them every layer trains from the start."""
    net = NETS["mlp"]
    data = site.data(net, "regression")
    try:
        staged = site.trainer(1, FineTune(1), strategy=FSDPStrategy())
        try:
            staged.fit(site.module(net, data), data)
        except BadValueError as error:
            require("in stages under FSDPStrategy" in str(error), f"FineTune under FSDP ended with {str(error)!r}")
        else:
            require(False, "FineTune under FSDP was not refused")
        trainer = site.trainer(1, OneCycle(), strategy=FSDPStrategy())
        trainer.fit(site.module(net, data), data)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    loss = float(trainer.callback_metrics["train/loss"])
    require(np.isfinite(loss), f"the training loss under FSDP is {loss}")
    return {"loss": loss}


def _fine_tuned(site: Site, precision: str, *callbacks: pl.Callback, **settings: Any) -> Facts:  # noqa: ANN401 - the module's settings
    net = NETS["vision"]
    data = site.data(net, "multiclass")
    module, watch = site.module(net, data, **settings), _BodyWatch()
    trainer = site.trainer(3, FineTune(1, base_lr=3e-3), watch, *callbacks, precision=precision)
    trainer.fit(module, data)
    loss = float(trainer.callback_metrics["train/loss"])
    require(
        watch.changed == [False, True, True],
        f"the body changed in epochs {watch.changed}, expected in all but the first",
    )
    require(np.isfinite(loss), f"the training loss is {loss}")
    return {"loss": loss}


def resume(site: Site) -> Cases:
    """Resume a fit mid-epoch: it must end bit for bit like an uninterrupted fit, if two uninterrupted fits agree."""
    nets = {"packed": "binary", "dot": "regression", "vision": "multiclass", "fused": "regression"}
    cases = {
        f"{name}, {precision}": partial(_resumed, site, NETS[name], target, precision)
        for name, target in nets.items()
        for precision in (site.precisions[0], site.precisions[-1])
    }
    return {**cases, "packed, averaged": partial(_resumed, site, NETS["packed"], "regression", "32-true", FitTable)}


def _resumed(site: Site, net: Net, target: str, precision: str, fit: Callable[[], pl.Callback] = OneCycle) -> Facts:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        folder = site.folder / f"resume-{net.kind.__name__}-{target}-{precision}"
        fit_and_save = partial(_fit_and_save, site, net, target, precision, fit)
        whole, step = fit_and_save(folder=folder)
        again, _ = fit_and_save(folder=folder.with_name(f"{folder.name}-again"))
        resumed, _ = fit_and_save(ckpt_path=folder / f"step={step}.ckpt")
    finally:
        torch.use_deterministic_algorithms(False)
    differ = [name for name in whole if not torch.equal(whole[name], resumed[name])]
    deterministic = all(torch.equal(whole[name], again[name]) for name in whole)
    if deterministic:
        require(not differ, f"resumed from step {step}, {len(differ)} tensors differ, such as {differ[:1]}")
    return {"deterministic": deterministic, "resumed_from_step": step, "different_tensors": len(differ)}


def _fit_and_save(
    site: Site,
    net: Net,
    target: str,
    precision: str,
    fit: Callable[[], pl.Callback],
    *,
    folder: Path | None = None,
    ckpt_path: Path | None = None,
) -> tuple[dict[str, Tensor], int]:
    pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)
    data = site.data(net, target)
    random = {"dropout": 0.3} if "dropout" in net.settings else {}  # random numbers that a resumed fit must reproduce
    module = site.module(net, data, **random)
    step = len(data.train_dataloader()) + 2  # in the middle of the second epoch
    callbacks: list[pl.Callback] = [ExactResume(), fit()]
    if folder is not None:
        callbacks.append(ModelCheckpoint(folder, filename="{step}", every_n_train_steps=step, save_top_k=-1))
    trainer = site.trainer(3, *callbacks, precision=precision, enable_checkpointing=folder is not None)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return {name: value.cpu().clone() for name, value in module.state_dict().items()}, step


def augmentation(site: Site) -> Cases:
    """Augment on the device: images must match those of the threads, and its warp the CPU's, within a tolerance."""
    cases: dict[str, Callable[[], Facts]] = {
        f"{preset}, {resize}": partial(_augmented, site, preset, resize)
        for preset in ("none", "default", "strong")
        for resize in ("crop", "squish")
    }
    return {**cases, "warp": partial(_warped, site)}


def _augmented(site: Site, preset: str, resize: str) -> Facts:
    seen: list[Any] = []
    for device_augment in (False, True):
        augment = {"preset": preset, "erase": 0.0}  # noise differs by kind of device
        settings = {"augment": augment, "resize": resize, "device_augment": device_augment, "cache": None}
        data = site.data(NETS["vision"], "multiclass", **settings)
        batch = next(iter(data.train_dataloader()))
        seen.append(data.on_after_batch_transfer(data.transfer_batch_to_device(batch, site.device, 0), 0))
    threads, device = seen
    require(torch.equal(threads["index"], device["index"]), "the two ways read other rows")
    require(device["image"].device.type == site.device.type, f"the images are on {device['image'].device}")
    std = torch.tensor([0.229, 0.224, 0.225], device=site.device)[:, None, None]
    levels = ((threads["image"] - device["image"]).abs() * std * 255).mean().item()
    require(levels < GRAY_LEVELS, f"the mean difference is {levels:.2f} gray levels, expected below {GRAY_LEVELS}")
    return {"gray_levels": levels}


def _warped(site: Site) -> Facts:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 3, 12, 16, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (120, 160), mode="bicubic").clamp(0, 1).mul(255).byte()
    matrices = torch.eye(3, dtype=torch.float64).repeat(8, 1, 1)
    matrices[:, :2] += 0.1 * torch.rand(8, 2, 3, generator=generator, dtype=torch.float64)
    matrices[4:, :2, :2] *= 2.3  # these are first averaged in blocks
    found, expected = (warp_batch(images.to(place), matrices, (64, 64)).cpu() for place in (site.device, "cpu"))
    levels = (found - expected).abs().max().item() * 255
    require(levels < KERNEL_GRAY_LEVELS, f"the largest difference is {levels:.2f} gray levels")
    return {"gray_levels": levels}


def predictor(site: Site) -> Cases:
    """Compare Predictor on the device with the CPU."""
    return {name: partial(_predicted, site, name) for name in PREDICTED}


def _predicted(site: Site, name: str) -> Facts:
    path, rows = _checkpoint(site, name)
    here, there = (Predictor(path, device=device) for device in (site.device.type, "cpu"))
    expected = there.predict(rows, batch_size=16)
    difference = _difference(here, here.predict(rows), expected)
    return {"difference": _within(difference, NETS[name])}


def onnx(site: Site) -> Cases:
    """Compare OnnxPredictor with the device, exporting from a checkpoint and from the module on the device."""
    return {
        f"{name}, from {source}": partial(_exported, site, name, source)
        for name in PREDICTED
        for source in (("checkpoint", "module") if name in ("packed", "vision") else ("checkpoint",))
    }


def _exported(site: Site, name: str, source: str) -> Facts:
    path, rows = _checkpoint(site, name)
    here, out = Predictor(path, device=site.device.type), site.folder / f"{name}-{source}.onnx"
    export(path if source == "checkpoint" else here.module, out, overwrite=True)
    difference = _difference(here, here.predict(rows), OnnxPredictor(out).predict(rows))
    return {"difference": _within(difference, NETS[name])}


def _checkpoint(site: Site, name: str) -> tuple[Path, Any]:
    """Return a checkpoint of a net after a few steps, and rows to predict."""
    net, path = NETS[name], site.folder / f"{name}.ckpt"
    data = site.data(net, PREDICTED[name])
    if not path.exists():
        trainer = site.trainer(1)
        trainer.fit(site.module(net, data), data)
        trainer.save_checkpoint(path)
    return path, data.frame[INPUTS[net.inputs]].iloc[:256]


def _difference(predictor: Predictor, answers: Any, expected: Any) -> float:  # noqa: ANN401 - frames
    """Return the largest difference between two frames of predictions; for numbers, relative to their size and std."""
    task = predictor.module.task
    found, known = (frame.select_dtypes("number").to_numpy(float) for frame in (answers, expected))
    size = 0.0 if task.is_classes else np.abs(known)
    return float((np.abs(found - known) / (task.prediction_scale + size)).max())


def _within(difference: float, net: Net) -> float:
    tolerance = ANSWERS[net.inputs]
    require(difference < tolerance, f"the largest difference is {difference:.3g}, expected below {tolerance}")
    return difference


def compiled(site: Site) -> Cases:
    """Compile a module: it must predict like the plain one, and train."""
    return {name: partial(_compiled, site, NETS[name], PREDICTED[name]) for name in ("mlp", "packed", "vision")}


def _compiled(site: Site, net: Net, target: str) -> Facts:
    data = site.data(net, target)
    module = site.module(net, data).to(site.device)  # not in inference mode, where moved weights could not train
    batch = site.moved(data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0))
    torch.compiler.reset()  # earlier compilations count toward a limit
    quick: Any = torch.compile(module, backend="inductor" if site.device.type == "cuda" else "aot_eager")
    with torch.inference_mode():
        expected, found = module.eval()(batch), quick(batch)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    require(difference < COMPILED, f"the largest difference of logits is {difference:.3g}, expected below {COMPILED}")
    module.train()
    trainer = site.trainer(1)
    trainer.fit(quick, data)
    loss = float(trainer.callback_metrics["train/loss"])
    require(np.isfinite(loss), f"the training loss of the compiled module is {loss}")
    return {"difference": difference, "loss": loss}


CHECKS: dict[str, Callable[[Site], Cases]] = {
    "fits": fits,
    "folded": folded,
    "fine_tune": fine_tune,
    "resume": resume,
    "augmentation": augmentation,
    "predictor": predictor,
    "onnx": onnx,
    "compiled": compiled,
    "speed": speed,
}
