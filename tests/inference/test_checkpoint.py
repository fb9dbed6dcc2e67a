"""Opening a checkpoint: what is damaged, foreign or hostile is refused in a sentence, and nothing in it runs."""

import dataclasses
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import open_checkpoint, read_checkpoint
from tabvision.modules import SupervisedModule, TabularModule, VisionModule
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schema import Image
from tests.made.payload import Payload
from tests.made.trained import trained


class Own(SupervisedModule):
    """A module outside tabvision that passes settings on."""

    def __init__(self, schema: Any, size: int = 2, **settings: Any) -> None:
        common = {"optimizer": "adam", "weight_decay": 0.0, "decay": "l2", "decay_norms": False, "momentum": 0.0}
        super().__init__(schema, **({"lr": 0.1} | common | settings))  # type: ignore[arg-type]
        self.size = size
        self.net = nn.Linear(len(self.schema.continuous), self.task.num_outputs)

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.net(batch["continuous"])
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup("net", (self.net,))]


def changed(path: Path, **changes: Any) -> Path:
    """The checkpoint of a trained module with some entries replaced; None takes one away."""
    checkpoint = torch.load(trained("binary")[0], weights_only=True)
    checkpoint |= changes
    torch.save({name: value for name, value in checkpoint.items() if value is not None}, path)
    return path


def own_checkpoint(path: Path) -> Path:
    module = Own(trained("binary")[1].schema, size=5, lr=0.3)
    facts = {"format": 1, "version": "0", "module": "Own"}
    saved = {"tabvision": facts, "hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    torch.save(saved, path)
    return path


# Hostile and damaged files.


def test_a_payload_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = changed(tmp_path / "bad.ckpt", extra=Payload(ran))

    with pytest.raises(
        BadValueError,
        match=r"more than plain data, or is not a checkpoint, and was not opened: it names (posix|nt) mkdir. Save",
    ):
        Predictor(path)

    assert not ran.exists()
    torch.load(path, weights_only=False)  # the payload works: it is the guard that kept it from running
    assert ran.exists()


def test_a_payload_in_a_plain_pickle_does_not_run(tmp_path: Path) -> None:
    ran, path = tmp_path / "ran", tmp_path / "bad.ckpt"
    path.write_bytes(pickle.dumps({"tabvision": {"format": 1}, "state_dict": Payload(ran)}))

    with pytest.raises(BadValueError, match=r"was not opened|damaged or not a checkpoint"):
        Predictor(path)

    assert not ran.exists()


def test_a_payload_among_the_settings_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = changed(tmp_path / "bad.ckpt", hyper_parameters={"schema": Payload(ran)})

    with pytest.raises(BadValueError, match="was not opened"):
        Predictor(path)

    assert not ran.exists()


@pytest.mark.parametrize("kept", [0, 1, 10, 1_000, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept: float, tmp_path: Path) -> None:
    content = trained("binary")[0].read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])

    with pytest.raises(
        BadValueError, match=r"Predictor: .*cut.ckpt (is empty|is damaged or not a checkpoint|holds more than plain)"
    ):
        Predictor(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", bytes(1000), b"a,b\n1,2\n"], ids=str)
def test_another_kind_of_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)

    with pytest.raises(BadValueError, match=r"Predictor: .*other.ckpt"):
        Predictor(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")

    with pytest.raises(BadValueError, match="damaged or not a checkpoint"):
        Predictor(path)


def test_flipped_bytes_are_refused_or_change_nothing_that_runs(tmp_path: Path) -> None:
    content = bytearray(trained("binary")[0].read_bytes())
    path = tmp_path / "flipped.ckpt"
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            Predictor(path, device="cpu")
        except (BadValueError, BadTypeError):
            continue


# Files of another origin.


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3), {"tabvision": 3}], ids=str)
def test_a_checkpoint_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.ckpt")

    with pytest.raises(BadTypeError, match=r"other.ckpt is not a checkpoint of a tabvision module"):
        Predictor(tmp_path / "other.ckpt")


@pytest.mark.parametrize("version", [2, 99, "1", None])
def test_a_newer_or_unknown_format_is_refused(version: object, tmp_path: Path) -> None:
    path = changed(tmp_path / "new.ckpt", tabvision={"format": version, "module": "TabularModule"})

    with pytest.raises(
        BadValueError, match=f"has format {version!r}, and 1 is the newest that this version reads. Upd"
    ):
        Predictor(path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    settings = torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]
    settings["schema"]["format"] = 99
    path = changed(tmp_path / "new.ckpt", hyper_parameters=settings)

    with pytest.raises(BadValueError, match="Predictor: format 99 is newer than 2"):
        Predictor(path)


@pytest.mark.parametrize("name", ["Own", "SupervisedModule", "os.system", None])
def test_a_class_outside_tabvision_must_be_passed(name: str | None, tmp_path: Path) -> None:
    path = changed(tmp_path / "own.ckpt", tabvision={"format": 1, "module": name})

    with pytest.raises(
        BadValueError,
        match=rf"own.ckpt holds a {name}, which is not a module of tabvision. Pass its class: Predictor\(path",
    ):
        Predictor(path)


@pytest.mark.parametrize("wrong", [nn.Linear, "Own", Own.__init__])
def test_what_is_no_module_class_is_refused(wrong: Any) -> None:
    with pytest.raises(BadTypeError, match="module_class must be a subclass of SupervisedModule"):
        Predictor(trained("binary")[0], module_class=wrong)


def test_a_class_outside_tabvision_is_built_from_its_settings(tmp_path: Path) -> None:
    module = open_checkpoint(own_checkpoint(tmp_path / "own.ckpt"), Own).module

    assert isinstance(module, Own)
    assert module.size == 5
    assert module.hparams["lr"] == 0.3


def test_an_object_that_a_command_line_wrote_down_must_be_passed_again(tmp_path: Path) -> None:
    path = own_checkpoint(tmp_path / "own.ckpt")
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["size"] = {"class_path": "mine.Size", "init_args": {"width": 5}}
    torch.save(content, path)

    with pytest.raises(BadValueError, match=r"size= of your own, which no checkpoint holds\. Pass it again"):
        open_checkpoint(path, Own)
    assert open_checkpoint(path, Own, size=7).module.size == 7


def test_a_compiled_module_is_opened_as_the_plain_one() -> None:
    plain = open_checkpoint(trained("binary")[0]).module
    compiled: Any = torch.compile(plain, backend="eager")

    assert type(open_checkpoint(compiled).module) is type(plain)


def test_the_wrong_class_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"the weights in .*own.ckpt do not fit TabularModule"):
        open_checkpoint(own_checkpoint(tmp_path / "own.ckpt"), TabularModule)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_dict": None}, "the weights in .* do not fit TabularModule. Save it with a Trainer again"),
        ({"state_dict": {}}, "the weights in .* do not fit TabularModule"),
        ({"state_dict": [1]}, "the weights in .* do not fit TabularModule"),
        ({"hyper_parameters": None}, "has no hyper_parameters to build a module from. Save it with a Trainer again"),
        ({"hyper_parameters": {}}, "the settings in .* do not build a TabularModule"),
        ({"hyper_parameters": {"schema": {}}}, "Predictor: format must be a whole number"),
    ],
    ids=str,
)
def test_a_checkpoint_with_a_part_missing_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=message):
        Predictor(changed(tmp_path / "part.ckpt", **changes))


@pytest.mark.parametrize("path", ["nowhere.ckpt", ".", "", "file:///etc/passwd", "a\0b"])
def test_a_path_without_a_file_is_refused(path: str) -> None:
    with pytest.raises(MissingFileError, match=r"Predictor: no checkpoint at .*Pass the path of a .ckpt file"):
        Predictor(path)


def test_settings_that_a_command_line_added_are_left_out(tmp_path: Path) -> None:
    settings = torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]
    settings |= {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "os.system"}

    module = open_checkpoint(changed(tmp_path / "cli.ckpt", hyper_parameters=settings)).module

    assert isinstance(module, TabularModule)


def test_a_module_is_ready_to_answer_on_the_cpu() -> None:
    module = open_checkpoint(str(trained("binary")[0])).module

    assert not module.training
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


def test_a_checkpoint_is_read_as_plain_data() -> None:
    checkpoint = read_checkpoint(trained("binary")[0])

    assert checkpoint["tabvision"]["module"] == "TabularModule"
    torch.save(checkpoint, io.BytesIO())


# Pieces of the user's own.


def with_own_body(path: Path) -> tuple[Path, nn.Module]:
    """A checkpoint of a network of the user's own with a new head, and the network."""
    schema = dataclasses.replace(trained("binary")[1].schema, continuous=(), categorical=(), image=Image(size=(32, 32)))
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    module = VisionModule(schema, body=body, head_widths=[4], num_groups=2)
    facts = {"format": 1, "version": "0", "module": "VisionModule"}
    saved = {"tabvision": facts, "hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    torch.save(saved, path)
    return path, body


def test_a_body_of_the_users_own_is_asked_for_and_takes_the_weights(tmp_path: Path) -> None:
    path, body = with_own_body(tmp_path / "own.ckpt")
    again = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())

    with pytest.raises(BadValueError, match=r"trained with a body of your own.*Predictor\(path, body=...\)"):
        open_checkpoint(path)
    open_checkpoint(path, body=again)

    assert torch.equal(again[0].weight, body[0].weight)  # type: ignore[arg-type, index]


def test_a_piece_that_has_no_effect_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"holds its widths, \[8\], so another one has no effect. Leave widths"):
        open_checkpoint(trained("binary")[0], widths=[4])
    with pytest.raises(UnknownNameError, match=r"no setting of VisionModule named 'boddy'. Choices: body"):
        open_checkpoint(with_own_body(tmp_path / "own.ckpt")[0], boddy=nn.Identity())
    with pytest.raises(BadValueError, match="a module in memory is complete, so body has no effect"):
        open_checkpoint(trained("binary")[2], body=nn.Identity())


def test_a_module_in_memory_is_copied_and_keeps_its_mode() -> None:
    module = trained("binary")[2]
    module.train()

    found = open_checkpoint(module)
    is_training, answers = module.training, found.module.training
    module.eval()

    assert is_training
    assert not answers
    assert found.facts["module"] == "TabularModule"
    assert found.module is not module
