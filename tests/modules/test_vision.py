"""VisionModule: real weights and their statistics, freezing without a graph, wrong choices as sentences."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tabvision.augment.normalize import normalize
from tabvision.callbacks import Unfreeze
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.modules import VisionModule
from tabvision.nets.layer_groups import check_groups
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD, Schema
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression, Task
from tests.made.crops import HALF, LITE0, loader, own_body, photos, schema_of
from tests.made.trainers import MakeTrainer


def freeze(module: VisionModule, num_groups: int) -> None:
    for group in module.layer_groups()[:num_groups]:
        for parameter in group:
            parameter.requires_grad_(False)


# Real weights.


def test_a_frozen_real_body_learns_two_photos_from_a_few_crops(quick_trainer: MakeTrainer) -> None:
    module = VisionModule(schema_of(), body=LITE0)
    trainer = quick_trainer(max_epochs=2, callbacks=[Unfreeze({0: 1})])

    trainer.fit(module, loader(), loader())

    assert trainer.callback_metrics["val/accuracy"] > 0.9


def test_the_weights_normalization_travels_in_the_schema_and_is_saved() -> None:
    schema = schema_of()

    module = VisionModule(schema, body=LITE0)

    assert schema.image is not None
    assert schema.image.mean == ()
    assert module.schema == schema.with_statistics(HALF, HALF)
    assert module.hparams["schema"] == module.schema.to_dict()


def test_statistics_that_the_data_was_given_win() -> None:
    schema = schema_of(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))

    assert VisionModule(schema, body=LITE0).schema == schema


def test_random_weights_and_a_body_of_ones_own_get_imagenets_statistics() -> None:
    expected = schema_of().with_statistics(IMAGENET_MEAN, IMAGENET_STD)

    assert VisionModule(schema_of(), body="resnet18", weights=None).schema == expected
    assert VisionModule(schema_of(), body=own_body()).schema == expected


@pytest.mark.parametrize("channels_last", [True, False])
def test_uint8_images_give_the_answers_of_normalized_ones(*, channels_last: bool) -> None:
    module = VisionModule(schema_of(), body=LITE0, channels_last=channels_last).eval()
    images, _ = photos(2)

    raw = module({"image": images})

    torch.testing.assert_close(raw, module({"image": normalize(images, HALF, HALF)}), rtol=1e-4, atol=1e-4)


def test_channels_last_changes_no_answer() -> None:
    one = VisionModule(schema_of(), body=LITE0, channels_last=True).eval()
    other = VisionModule(schema_of(), body=LITE0, channels_last=False).eval()
    other.load_state_dict(one.state_dict())
    images, _ = photos(2)

    assert one.body.net.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]
    torch.testing.assert_close(one({"image": images}), other({"image": images}), rtol=1e-3, atol=1e-3)


def test_half_precision_takes_uint8_images() -> None:
    module = VisionModule(schema_of(), body="resnet18", weights=None).to(torch.bfloat16).eval()

    assert module({"image": photos(2)[0]}).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_images_that_the_datamodule_normalized_take_the_networks_precision(dtype: torch.dtype) -> None:
    module = VisionModule(schema_of(), body="resnet18", weights=None).to(dtype).eval()
    finished = photos(2)[0].float() / 255  # a Trainer's precision converts a loader's floats, not these

    assert module({"image": finished}).dtype == dtype


# Targets.


@pytest.mark.parametrize(
    ("task", "target"),
    [
        (Binary(focal_gamma=2.0), torch.tensor([0, 1])),
        (Multiclass(3, label_smoothing=0.1), torch.tensor([0, 2])),
        (Multiclass(3, focal_gamma=2.0), torch.tensor([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])),
        (Multilabel(3, class_weights=(1.0, 2.0, 3.0)), torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])),
        (Regression(mean=(5.0,), spread=(2.0,), y_range=(0.0, 10.0)), torch.tensor([[3.0], [9.0]])),
        (
            Regression(mean=(0.0,) * 4, spread=(1.0,) * 4, y_range=(-1.0, 1.0)),
            torch.tensor([[0.1, 0.9, 0.3, 0.6], [0.8, 0.2, 0.5, 0.4]]),
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_kind_of_target_trains_every_parameter(task: Task, target: Tensor, subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["concat", "mlp", "linear"]

    for head in cases:
        with subtests.test(head=head):
            module = VisionModule(schema_of(task), body=own_body(), head=head)

            losses = module.task.loss(module({"image": photos(2)[0]}), target)
            torch.autograd.backward(losses.sum())

            assert losses.shape == (2,)
            assert all(parameter.grad is not None for parameter in module.parameters())


# Layer groups and freezing.


@pytest.mark.parametrize("body", ["resnet18", "test_vit", "test_convnext", LITE0, "own"])
def test_groups_are_the_body_by_depth_and_the_head(body: str, subtests: pytest.Subtests) -> None:
    for num_groups in [2, 3]:
        with subtests.test(num_groups=num_groups):
            made: Any = own_body() if body == "own" else body
            module = VisionModule(schema_of(), body=made, weights=None, num_groups=num_groups)

            groups = module.layer_groups()

            check_groups(groups, module)
            assert [group.name for group in groups] == {2: ["body", "head"], 3: ["early", "late", "head"]}[num_groups]


def test_resnet18_has_fastais_groups() -> None:
    module = VisionModule(schema_of(Multiclass(10)), body="resnet18", weights=None)

    sizes = [sum(parameter.numel() for parameter in group) for group in module.layer_groups()]

    assert sizes == [683_072, 10_493_440, 532_480]  # fastai 2.8, ten classes


def test_a_frozen_body_builds_no_graph() -> None:
    module = VisionModule(schema_of(), body=own_body())
    freeze(module, 2)
    images = normalize(photos(2)[0], HALF, HALF)

    assert module.body(images).grad_fn is None
    assert module({"image": images}).requires_grad


def test_a_frozen_body_computes_in_bfloat16_where_that_is_chosen() -> None:
    module = VisionModule(schema_of(), body=LITE0, frozen_bf16=True)
    images, _ = photos(2)
    kinds: list[torch.dtype] = []
    norm = next(part for part in module.body.modules() if isinstance(part, nn.BatchNorm2d))
    norm.register_forward_hook(lambda _, __, output: kinds.append(output.dtype))

    for mode, frozen in ((True, False), (True, True), (False, True)):
        module.train(mode)
        for parameter in module.body.parameters():
            parameter.requires_grad_(not frozen)
        logits = module({"image": images})
        assert logits.dtype == torch.float32

    assert kinds == [torch.float32, torch.bfloat16, torch.float32]
    torch.autograd.backward(module.train()({"image": images}).sum())
    assert all(parameter.grad is not None for parameter in module.head.parameters())


def test_below_the_first_group_that_trains_nothing_is_kept_for_the_gradient() -> None:
    module = VisionModule(schema_of(), body="resnet18", weights=None)
    freeze(module, 1)
    outputs: dict[str, Tensor] = {}
    net: Any = module.body.net
    for name in ("layer2", "layer3"):
        net.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))

    module({"image": photos(2)[0]})

    assert not outputs["layer2"].requires_grad
    assert outputs["layer3"].requires_grad


def test_a_frozen_stage_keeps_the_body_and_its_statistics(quick_trainer: MakeTrainer) -> None:
    module, batches = VisionModule(schema_of(side=32), body=LITE0), loader(side=32)
    before = {name: tensor.clone() for name, tensor in module.body.state_dict().items()}
    trainer = quick_trainer(max_epochs=1, callbacks=[Unfreeze({0: 1, 1: "all"})])

    trainer.fit(module, batches, batches)

    assert all(torch.equal(tensor, before[name]) for name, tensor in module.body.state_dict().items())


def linear_head(num_features: int, num_outputs: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_features, num_outputs))


@pytest.mark.parametrize("head", [linear_head, linear_head(6, 2)])
def test_a_head_of_ones_own_gives_the_logits_and_is_the_last_group(head: Any) -> None:
    module = VisionModule(schema_of(), body=own_body(), head=head)

    logits = module({"image": photos(4)[0]})

    assert logits.shape == (4, 2)
    assert [group.name for group in module.layer_groups()][-1] == "head"
    assert module.hparams["head"] == "own"
    assert [module.hparams[name] for name in ("head_widths", "dropout", "head_scale")] == [None] * 3


def test_a_checkpoint_of_format_1_drops_settings_without_effect() -> None:
    saved = schema_of().to_dict()
    saved |= {"format": 1, "image": saved.pop("images")[0]}

    module = VisionModule(saved, body=own_body(), head="linear", head_widths=[8], dropout=0.5)

    assert (module.hparams["head_widths"], module.hparams["dropout"]) == (None, None)


# Wrong input.


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"body": "resnet1"}, UnknownNameError, "no network named 'resnet1'. Choices: resnet18"),
        ({"body": 18}, BadTypeError, "a body must be named by a string, got int"),
        (
            {"body": "mixer_s32_224"},
            BadValueError,
            r"VisionModule: the body does not accept images of 64 x 64 .*Pass size=224",
        ),
        ({"body": "resnet18", "num_groups": 1}, BadValueError, "num_groups must be at least 2, got 1. Pass 3"),
        ({"body": "resnet18", "num_groups": 2.5}, BadTypeError, "num_groups must be a whole number, got 2.5"),
        ({"body": nn.Conv2d(3, 4, 3)}, BadValueError, "but the body has 1 part to group. Pass num_groups=2 or fewer"),
        (
            {"body": nn.Linear(3, 4)},
            BadValueError,
            r"the body does not accept images of 64 x 64 pixels \(.*Pass another size",
        ),
        ({"body": "resnet18", "head": "conact"}, UnknownNameError, "no head named 'conact'"),
        ({"body": "resnet18", "dropout": 2}, BadValueError, "dropout must lie in"),
        ({"body": "resnet18", "lr": -1.0}, BadValueError, "-1.0"),
        (
            {"head": "linear", "dropout": 0.5},
            BadValueError,
            "dropout has no effect with head='linear', got 0.5. Leave drop",
        ),
        ({"head": "linear", "head_widths": [8]}, BadValueError, "head_widths has no effect with head='linear', got"),
        ({"head": linear_head, "head_scale": 1.0}, BadValueError, "head_scale has no effect with a head of your own"),
        ({"body": own_body(), "weights": "a.pth"}, BadValueError, "weights has no effect with a body of your own"),
        (
            {"body": own_body(), "head": nn.Flatten()},
            BadValueError,
            "the head must return 2 logits for an image, got 1350",
        ),
        (
            {"body": own_body(), "head": nn.Linear(3, 2)},
            BadValueError,
            r"the head does not accept rows of shape \(6, 15, 15\)",
        ),
        ({"body": own_body(), "head": 3}, BadTypeError, "head must be a name, a torch.nn.Module or a function"),
        ({"body": own_body(), "head": lambda *_: None}, BadTypeError, "head must be .* got NoneType"),
    ],
)
def test_a_wrong_choice_is_a_sentence(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VisionModule(schema_of(), **({"weights": None} | settings))


def test_a_schema_without_a_image_is_a_sentence() -> None:
    with pytest.raises(BadValueError, match=r"VisionModule: the schema has no image. Build it from an ImageDataModule"):
        VisionModule(Schema(target=schema_of().target))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(own_body().state_dict(), tmp_path / "own.pth")

    with pytest.raises(BadValueError, match=r"own.pth do not fit the body, which has .* keys missing: "):
        VisionModule(schema_of(), body="resnet18", weights=tmp_path / "own.pth")
