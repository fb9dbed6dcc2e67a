"""A linear probe: a linear head on features of a pretrained body, which are computed once and as fast as possible."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from tabvision import lightning as pl
from tabvision.data import ImageDataModule
from tabvision.data.splits.base import PartName
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.logs import quiet_lightning
from tabvision.metrics import values_of
from tabvision.modules import VisionModule
from tabvision.modules.vision_network import image_of
from tabvision.nets.body import Body
from tabvision.nets.heads import mean_pooled
from tabvision.nets.layers import evaluating
from tabvision.nets.linear_fit import Heads, Rows, fitted_heads, mean_and_std, mean_loss
from tabvision.random_state import same_random_state
from tabvision.tasks import Task

_FOLDS, _MOST_FOLDS = 5, 20  # folds of the training rows, which choose the penalty; few rows need many
_MOST_LOGITS = 50_000  # over all folds; with many rows one fold chooses as well, and fits are slow
_TOLERANCE = 1e-3  # as a fraction of the largest feature; rounding alone is about 1e-5


@final
@dataclass(frozen=True)
class Probe:
    """A linear probe, as returned by `probe`.

    Args:
        module: A copy of the body with a linear head, ready to predict.
        metrics: Metrics on the validation rows, named as a Trainer logs them: `val/loss` and the task's; empty if the head
            was fitted to these rows as well.
        seconds: How long the features and the head took.
    """

    module: VisionModule
    metrics: Mapping[str, float]
    seconds: float

    def save(self, path: str | Path, data: ImageDataModule) -> None:
        """Write a checkpoint for `Predictor` atomically.

        Args:
            path: The file.
            data: The probe's datamodule; the checkpoint records its augmentation for test-time augmentation.
        """
        settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        with quiet_lightning():
            trainer = pl.Trainer(accelerator="cpu", devices=1, **settings)
        trainer.strategy.connect(self.module)
        self.module.trainer, trainer.datamodule = trainer, data  # type: ignore[attr-defined]  # set by Lightning's connector
        with written_whole(Path(path)) as partial:
            trainer.save_checkpoint(partial, weights_only=True)


@speaking("probe")
def probe(module: VisionModule, data: ImageDataModule) -> Probe:
    """Fit a linear head to the body's features of the training rows, without augmentation, and measure it on validation rows.

    The features are averaged over the image and standardized. The head minimizes the task's loss plus an L2 penalty on its
    weights, whose strength is chosen on held-out training rows: logistic regression for classes and labels, ridge for
    numbers. The module and all random states are left unchanged.

    Args:
        module: A module for images, on the device that computes the features.
        data: The rows, with a validation split.

    Raises:
        BadTypeError: The module or the data has the wrong type.
        BadValueError: There is no validation split, or too few images are readable.
    """
    if not isinstance(module, VisionModule) or not isinstance(data, ImageDataModule):
        got = f"{type(module).__name__} and {type(data).__name__}"
        problem = f"a probe needs a VisionModule and an ImageDataModule, got {got}"
        raise BadTypeError(problem, "Pass probe(VisionModule(data.schema), data)")
    data.part("val")
    start = time.perf_counter()
    train, val = _pooled_features(module, data, exact_val=True)
    if len(train.target) <= _FOLDS or not len(val.target):
        problem = f"{len(train.target)} training and {len(val.target)} validation images can be read"
        raise BadValueError(problem, "Add images, or replace the damaged files")
    head = _linear_head(train, module.task)
    heads = Heads(head["weight"].unsqueeze(0), head["bias"].unsqueeze(0))
    logits = heads.logits(val.features)[:, 0]
    found = {
        "loss": mean_loss(val, module.task, heads, torch.ones(len(val.target), 1)).item(),
        **values_of(module.task.metrics(), module.task.activate(logits), val.target),
    }
    with same_random_state():
        metrics = {f"val/{name}": value for name, value in found.items()}
        return Probe(_with_head(module, head), metrics, time.perf_counter() - start)


def refitted(module: VisionModule, data: ImageDataModule) -> Probe:
    """Fit a linear head as `probe` does, but to the training and validation rows together, which leaves none to measure it.

    Args:
        module: A module for images, on the device that computes the features.
        data: The rows, with a validation split.
    """
    start = time.perf_counter()
    train, val = _pooled_features(module, data, exact_val=False)
    head = _linear_head(Rows(*(torch.cat(each) for each in zip(train, val, strict=True))), module.task)
    with same_random_state():
        return Probe(_with_head(module, head), {}, time.perf_counter() - start)


def _linear_head(rows: Rows, task: Task) -> dict[str, Tensor]:
    """Return the weight and bias of a linear head, fitted to standardized features.

    Its penalty is chosen by cross-validation over folds of the rows.
    """
    mean, std = mean_and_std(rows.features)
    num_folds = min(_MOST_FOLDS, max(1, _MOST_LOGITS // (len(rows.target) * task.num_outputs)))
    order = torch.randperm(len(rows.target), generator=torch.Generator().manual_seed(0))
    fold = order % max(_FOLDS, num_folds)
    fold = fold.masked_fill(fold >= num_folds, -1)
    heads, _ = fitted_heads(rows._replace(features=(rows.features - mean) / std), task, fold, num_folds + 1)
    weight = heads.weight[-1] / std  # the last head was fitted to all rows
    return {"weight": weight, "bias": heads.bias[-1] - weight @ mean}


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 natively, about twice as fast, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch's compiler calls it too


@torch.no_grad()
def _pooled_features(module: VisionModule, data: ImageDataModule, *, exact_val: bool) -> list[Rows]:
    """Return the pooled features of the training rows and of the validation rows, on the CPU.

    Args:
        module: The module. The features come from a copy with its BatchNorms folded into convolutions.
        data: The rows.
        exact_val: Whether to compute the validation features in float32, to measure on them. For training, bfloat16 is
            precise enough, and is used on devices where it is fast.
    """
    quick, image = copy.deepcopy(module), image_of(module.schema)
    sample = torch.randn(1, image.channels, *image.size, generator=torch.Generator().manual_seed(0))
    quick.body = cast("Body", fuse_batch_norms(module.body, sample.to(module.device)))
    parts: list[tuple[PartName, bool]] = [("train", False), ("val", exact_val)]
    found = []
    for part, is_exact in parts:
        low = not is_exact and _is_fast_in_bfloat16(module.device)
        features, targets, weights = [], [], []
        with evaluating(quick), torch.autocast(module.device.type, torch.bfloat16, enabled=low):
            for batch in data.ordered_loader(part):
                maps = quick.features(data.transfer_batch_to_device(batch, module.device, 0))
                features.append(mean_pooled(maps).float().cpu())
                targets.append(batch["target"])
                weights.append(batch.get("weight", torch.ones(len(batch["index"]))))
        found.append(Rows(*(torch.cat(each) if each else torch.zeros(0) for each in (features, targets, weights))))
    return found


def _with_head(module: VisionModule, head: Mapping[str, Tensor]) -> VisionModule:
    """Return a module with a copy of the body and the given head; its checkpoint names the same body."""
    own: dict[str, Any] = {name: module.hparams[name] for name in ("num_groups", "channels_last")}
    found = VisionModule(module.schema, body=copy.deepcopy(module.body).cpu(), head="linear", **own)
    found.hparams["body"] = module.hparams["body"]
    cast("nn.Sequential", found.head)[-1].load_state_dict(head)
    return found.eval()


@torch.no_grad()
def fuse_batch_norms(net: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy in evaluation mode with each BatchNorm folded into the convolution before it, equal up to rounding.

    This makes a ResNet about a third faster on a CPU. If the outputs for the images differ, return an unfolded copy.

    Args:
        net: The network.
        images: A few inputs, run once to see which BatchNorm follows which convolution.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> fuse_batch_norms(net, torch.zeros(1, 3, 8, 8))[1]
        Identity()
    """
    plain = copy.deepcopy(net).eval()
    found = copy.deepcopy(plain)
    names = {module: name for name, module in found.named_modules()}
    for conv, norm in _conv_norm_pairs(found, images):
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        parent, _, name = names[norm].rpartition(".")
        rest: Any = [getattr(norm, each) for each in ("drop", "act") if hasattr(norm, each)]  # in timm's BatchNormAct2d
        setattr(found.get_submodule(parent), name, nn.Sequential(*rest) if rest else nn.Identity())
    before, after = plain(images), found(images)
    return found if (after - before).abs().max() <= _TOLERANCE * before.abs().max() else plain


def _conv_norm_pairs(net: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution that is called once, paired with the BatchNorm that takes its output."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by id of the output, which is kept so that its id is not reused
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))  # type: ignore[arg-type]  # hooked below

    kinds = [each for each in net.modules() if isinstance(each, nn.Conv2d | nn.BatchNorm2d)]
    handles = [each.register_forward_hook(hook) for each in kinds]
    net(images)
    for handle in handles:
        handle.remove()
    used = [part for pair in pairs for part in pair]
    return [pair for pair in pairs if used.count(pair[0]) == used.count(pair[1]) == 1]
