"""Pickles that run nothing and still cost too much, or hold facts that no training gives, are refused in a sentence."""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tabvision.errors import BadValueError, TabvisionError
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.untrusted import _is_plain
from tests.inference.test_hostile_checkpoints import ASK_FOR_THE_ORIGINAL, saved, with_settings
from tests.inference.trained import raw, trained


class Declared:
    """A class of the user's own."""


def test_what_a_user_declared_safe_to_torch_is_plain() -> None:
    name = f"{Declared.__module__} Declared"
    assert not _is_plain(name)

    with torch.serialization.safe_globals([Declared, (Declared, "other.place.Name")]):
        assert _is_plain(name)
        assert _is_plain("other.place Name")


def with_pickle(pickled: bytes) -> bytes:
    """A good checkpoint's archive around another pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(trained("binary")[0]) as good, zipfile.ZipFile(file, "w") as written:
        for entry in good.infolist():
            written.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else good.read(entry))
    return file.getvalue()


def pushed(number: int) -> bytes:
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize(
    "made",
    [b"cbuiltins\nbytearray\n", b"c__builtin__\nbytearray\n", b"ctorch\nFloatTensor\n", b"ctorch\nTensor\n"],
    ids=["bytearray", "of Python 2", "tensor", "any tensor"],
)
def test_an_array_as_large_as_a_number_says_is_not_made(made: bytes) -> None:
    with pytest.raises(BadValueError, match=r"was not opened: it names (builtins|__builtin__|torch) "):
        open_checkpoint(with_pickle(b"\x80\x02" + made + pushed(10**12) + b"\x85R."))


def test_a_number_shown_many_times_is_not_copied_out() -> None:
    """Torch would do so to bring it to another device, or another kind of number."""
    name = b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n"

    with pytest.raises(BadValueError, match=r"it names torch._utils _rebuild_device_tensor_from_cpu_tensor"):
        open_checkpoint(with_pickle(b"\x80\x02" + name + b")R."))


@pytest.mark.parametrize("end", [b".", b"N\x86.", b"\x81."], ids=["alone", "in a pair", "new"])
def test_tuples_in_tuples_without_end_are_refused(end: bytes) -> None:
    """As a key they end the process: Python takes the hash of the innermost by calling itself."""
    with pytest.raises(BadValueError, match=f"nests tuples without end. {ASK_FOR_THE_ORIGINAL}"):
        open_checkpoint(with_pickle(b"\x80\x02})" + b"\x85" * 200_000 + end))


def test_tuples_that_are_remembered_are_counted_as_well() -> None:
    steps = b"".join(b"h" + bytes([place]) + b"\x85q" + bytes([place + 1]) + b"0" for place in range(200))

    with pytest.raises(BadValueError, match="nests tuples without end"):
        open_checkpoint(with_pickle(b"\x80\x02)q\x00" + steps + b"."))


def test_a_great_many_large_integers_are_refused() -> None:
    """As keys, chosen so, they all have one hash: each is compared with all before it."""
    integers = b"".join(b"\x8a\x10" + (place * (2**61 - 1) << 40).to_bytes(16, "little") for place in range(2_000))

    with pytest.raises(BadValueError, match="holds a great many integers of more than 64 bits"):
        open_checkpoint(with_pickle(b"\x80\x02](" + integers + b"e."))


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"\x80\x02a.",
        b"\x80\x02]",
        b"\x80\x02K\x05Q.",
        b"\x80\x02NQ.",
        b"\x80\x02)Q.",
        b"\x80\x02Pabc\n.",
        b"\x80\x02(t(tt.",
        b"\x80\x02h\x07.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\x80\x02]" + b"]" * 100_000 + b"a" * 100_000 + b".",
        b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 50_000 + b"N" + b"s" * 50_000 + b".",
    ],
    ids=lambda value: repr(value)[2:20],
)
def test_a_pickle_of_nonsense_ends_in_a_sentence(pickled: bytes) -> None:
    with pytest.raises(
        TabvisionError, match=r"damaged or not a checkpoint|not written by a tabvision|not a checkpoint, and was"
    ):
        open_checkpoint(with_pickle(pickled))


def with_schema(change: Callable[[Any], object]) -> bytes:
    schema = copy.deepcopy(torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]["schema"])
    change(schema)
    return with_settings(schema=schema)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda schema: schema["target"].update(classes=[]), "its answers need 2 different names of a class"),
        (lambda schema: schema["target"].update(classes=["a", "a"]), "2 different names of a class"),
        (lambda schema: schema["target"].update(classes=["a", "\ud800"]), "a name holds a lone surrogate"),
        (
            lambda schema: schema["categorical"][0].update(vocabulary=["a"] * 3),
            "vocabulary of 'job' holds a value twice",
        ),
        (lambda schema: schema["continuous"][0].update(mean=float("nan")), "'x' has mean nan and std"),
        (lambda schema: schema["continuous"][0].update(std=0.0), "'x' has mean .* and std 0"),
        (lambda schema: schema["continuous"][0].update(std=float("inf")), "'x' has mean .* and std inf"),
    ],
    ids=["no class", "class twice", "half a character", "value twice", "no mean", "no std", "any std"],
)
def test_a_schema_that_no_training_gives_is_refused(change: Callable[[Any], object], message: str) -> None:
    with pytest.raises(BadValueError, match=f"the schema in the .* bytes is damaged: .*{message}"):
        open_checkpoint(with_schema(change))


def test_a_diverged_network_says_so_instead_of_answering() -> None:
    weights = torch.load(trained("binary")[0], weights_only=True)["state_dict"]
    diverged = saved(state_dict={name: tensor * float("nan") for name, tensor in weights.items()})

    with pytest.raises(BadValueError, match="answer to 4 rows is not finite, as after a training run that diverged"):
        Predictor(diverged, device="cpu").predict(raw(4))


def test_what_lies_beside_the_weights_is_looked_at_too() -> None:
    """`calibrate` writes it again."""
    with pytest.raises(BadValueError, match="holds a tensor of shape"):
        open_checkpoint(saved(callbacks={"mine": torch.zeros(1).expand(10**12)}))
