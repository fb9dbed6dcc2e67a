"""Archives and nested facts that would grow are told before they do."""

import copy
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tabvision.errors import BadValueError, TabvisionError
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.untrusted import Budget, BudgetExceededError, _is_plain, check_plain, plain_archive
from tabvision.modules import TabularModule
from tests.made.hostile import ASK_FOR_THE_ORIGINAL, deep, itself, laughing, saved, with_settings
from tests.made.pairs import tabular_data
from tests.made.trained import raw, trained


def zipped(content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()


def test_what_a_trainer_wrote_is_taken() -> None:
    content = trained("binary")[0].read_bytes()

    copy = torch.load(plain_archive(content, "it"), weights_only=True)

    original = torch.load(io.BytesIO(content), weights_only=True)
    assert repr(copy) == repr(original)


def test_a_compressed_archive_and_a_wrong_checksum_are_refused() -> None:
    bomb = zipped(bytes(50_000_000), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000

    with pytest.raises(
        BadValueError, match=r"it would expand to more than its \d\d,\d{3} bytes, unlike what a Trainer"
    ):
        plain_archive(bomb, "it")

    with pytest.raises(BadValueError, match="it would expand"):  # though it does not
        plain_archive(zipped(bytes(range(256)), zipfile.ZIP_DEFLATED), "it")

    content = zipped(b"A" * 1_000).replace(b"AAAA", b"AABA", 1)
    with pytest.raises(
        BadValueError, match=r"it is damaged or not a checkpoint \(Bad CRC-32 for file 'archive/data.pkl'\)"
    ):
        plain_archive(content, "it")


def test_a_directory_that_names_one_content_many_times_is_refused() -> None:
    content = bytearray(zipped(bytes(1_000)))
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    tail = bytearray(content[end:])
    tail[8:12] = (50).to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * 50).to_bytes(4, "little")

    with pytest.raises(BadValueError, match="would expand to more than its"):
        plain_archive(bytes(content[:start] + entry * 50 + tail), "it")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b"\x80\x02}q\x00.", "no zip"), (b"PK\x03\x04", "damaged")]
)
def test_what_is_no_archive_is_told(content: bytes, problem: str) -> None:
    with pytest.raises(BadValueError, match=problem):
        plain_archive(content, "it")


@pytest.mark.parametrize("second", ["archive/data.pkl", "archive/DATA.PKL"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(second: str) -> None:
    """Which of the two torch reads is up to a library that does not tell upper from lower case."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02].")
        archive.writestr(second, b"\x80\x02}.")

    with pytest.raises(BadValueError, match="it holds an entry twice, unlike what a Trainer writes"):
        plain_archive(file.getvalue(), "it")


def test_only_what_was_checked_is_read_of_two_archives_in_one_file() -> None:
    """Python reads the second, with shifted places; another library may take the places as they stand, in the first."""
    evil, good = zipped(b"\x80\x02cos\nsystem\n."), zipped(b"\x80\x02}q\x00.\x00\x00\x00")

    copy = plain_archive(evil + good, "it").getvalue()

    assert b"system" not in copy
    assert zipfile.ZipFile(io.BytesIO(copy)).read("archive/data.pkl") == b"\x80\x02}q\x00.\x00\x00\x00"


def test_ordinary_facts_are_taken() -> None:
    check_plain({"a": [1, 2, {"b": (True, None, "text")}], "w": torch.zeros(3)}, 1_000, "it")


@pytest.mark.parametrize("make", [laughing, itself, deep])
def test_facts_without_end_are_refused(make: Any) -> None:
    with pytest.raises(
        BadValueError, match=r"is nested too deeply, or is larger than the file when written out. Do not use it"
    ):
        check_plain({"hyper_parameters": make()}, 1_000, "it")


def test_a_tensor_larger_than_its_file_is_refused() -> None:
    wide = torch.zeros(1).expand(10**12)  # one number, shown a great many times

    with pytest.raises(
        BadValueError, match=r"it holds a tensor of shape \(1000000000000,\), which is larger than the file"
    ):
        check_plain({"state_dict": {"w": wide}}, 1_000, "it")


# Pickles that run nothing and still cost too much, or hold facts that no training gives, are refused in a sentence.


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
    with pytest.raises(BadValueError, match=f"nests tuples more than 100 deep. {ASK_FOR_THE_ORIGINAL}"):
        open_checkpoint(with_pickle(b"\x80\x02})" + b"\x85" * 200_000 + end))


def test_tuples_that_are_remembered_and_large_integers_are_counted_as_well() -> None:
    steps = b"".join(b"h" + bytes([place]) + b"\x85q" + bytes([place + 1]) + b"0" for place in range(200))
    with pytest.raises(BadValueError, match="nests tuples more than 100 deep"):
        open_checkpoint(with_pickle(b"\x80\x02)q\x00" + steps + b"."))

    integers = b"".join(b"\x8a\x10" + (place * (2**61 - 1) << 40).to_bytes(16, "little") for place in range(2_000))
    with pytest.raises(BadValueError, match="holds more than 1,000 integers of more than 64 bits"):
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
        TabvisionError,
        match=r"damaged or not a checkpoint|not a checkpoint of a tabvision|not a checkpoint, and was|nested too deeply",
    ):
        open_checkpoint(with_pickle(pickled))


def with_schema(change: Callable[[Any], object]) -> bytes:
    schema = copy.deepcopy(torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]["schema"])
    change(schema)
    return with_settings(schema=schema)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda schema: schema["target"].update(classes=[]), "it must have 2 different class names"),
        (lambda schema: schema["target"].update(classes=["a", "a"]), "2 different class names"),
        (lambda schema: schema["target"].update(classes=["a", "\ud800"]), "a name holds a lone surrogate"),
        (
            lambda schema: schema["categorical"][0].update(vocabulary=["a"] * 3),
            "vocabulary of 'job' contains a value twice",
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


def test_a_diverged_network_says_so_instead_of_inference_net() -> None:
    weights = torch.load(trained("binary")[0], weights_only=True)["state_dict"]
    diverged = saved(state_dict={name: tensor * float("nan") for name, tensor in weights.items()})

    with pytest.raises(BadValueError, match="answers to 4 rows are not finite, as after training that diverged"):
        Predictor(diverged, device="cpu").predict(raw(4))


def test_what_lies_beside_the_weights_is_looked_at_too() -> None:
    """`calibrate` writes it again."""
    with pytest.raises(BadValueError, match="holds a tensor of shape"):
        open_checkpoint(saved(callbacks={"mine": torch.zeros(1).expand(10**12)}))


# Building a network may take no more memory than its weights account for.


def test_a_module_is_built_within_the_budget_of_its_own_weights() -> None:
    schema = tabular_data("multiclass").schema
    weights = sum(tensor.numel() for tensor in TabularModule(schema, widths=[300, 200]).state_dict().values())

    with Budget(weights):
        TabularModule(schema, widths=[300, 200])


@pytest.mark.parametrize(
    "make", [lambda: torch.empty(10**13), lambda: torch.zeros(10**7, 10**7), lambda: nn.Linear(10**6, 10**6)]
)
def test_the_one_tensor_too_large_is_not_made(make: object) -> None:
    assert callable(make)
    with Budget(1_000), pytest.raises(BudgetExceededError, match="asks for more elements"):
        make()


def test_many_small_tensors_are_counted_together() -> None:
    kept = []
    with Budget(1_000), pytest.raises(BudgetExceededError):  # noqa: PT012 - which of them is too much is open
        for _ in range(100):
            kept.append(torch.zeros(100_000))  # noqa: PERF401
    assert len(kept) < 100
