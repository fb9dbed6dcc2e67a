"""Which of Lightning's two packages the library builds on, what it says to the other, and a process that is forked."""

import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tabvision.callbacks import OneCycle
from tabvision.errors import UnknownNameError
from tabvision.lightning import SETTING, in_this_tree, tree
from tabvision.modules import TabularModule
from tabvision.tuning import lr_find
from tests.made.commands import Forked
from tests.made.tables import quiet, table

ROOT = Path(__file__).parents[1]
OLD, NEW = "pytorch_lightning", "lightning.pytorch"


@pytest.mark.parametrize(
    ("imported", "setting", "chosen"),
    [
        ([OLD], "", OLD),
        ([NEW], "", NEW),
        ([NEW], OLD, NEW),  # the Trainer is there already
        ([OLD, NEW], "", OLD),
        ([OLD, NEW], "lightning", NEW),
        ([OLD, NEW], NEW, NEW),
        ([OLD, NEW], OLD, OLD),
    ],
)
def test_the_package_that_is_imported_is_built_on_or_the_one_that_the_setting_names(
    imported: list[str], setting: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, setting)
    for name in (OLD, NEW):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in imported:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))

    assert tree.__wrapped__() == chosen


def test_a_setting_that_names_no_lightning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "lightening")

    with pytest.raises(
        UnknownNameError, match=r"no Lightning for TABVISION_LIGHTNING named 'lightening'. Choices: pyt"
    ):
        tree.__wrapped__()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "class_path: lightning.pytorch.callbacks.EarlyStopping",
            "class_path: pytorch_lightning.callbacks.EarlyStopping",
        ),
        (
            "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
            "--trainer.logger=pytorch_lightning.loggers.CSVLogger",
        ),
        ("save_dir: runs/lightning.pytorch", "save_dir: runs/lightning.pytorch"),
        ("class_path: mine.lightning.pytorch.Own", "class_path: mine.lightning.pytorch.Own"),
    ],
)
def test_a_recipe_of_either_package_names_the_classes_of_the_chosen_one(text: str, found: str) -> None:
    assert in_this_tree(text) == found


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a fresh Python says, in the root of the repository."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_everything_works_where_pytorch_lightning_is_not_installed(tmp_path: Path) -> None:
    done = in_a_process("-W", "ignore", "-m", "tests.made.other_lightning", str(tmp_path))

    assert done.returncode == 0, done.stderr[-4000:]


WITHOUT = """
import sys
sys.modules.update(pytorch_lightning=None, lightning=None)
from tabvision.lightning import Trainer
"""


def test_without_lightning_a_sentence_says_what_to_install() -> None:
    done = in_a_process("-c", WITHOUT)

    said = "pytorch_lightning or lightning.pytorch is needed, and is not installed. Install it: pip install 'tabvision[pl]'"
    assert said in done.stderr


def mix() -> None:
    """Print what is said where our parts, built on pytorch_lightning, meet the Trainer of the other package."""
    import lightning as L  # noqa: N812 - as its users write it

    class Own(L.LightningModule):
        training_step = configure_optimizers = lambda *_: None

    def trainer(*callbacks: Any) -> Any:  # a type checker knows our parts by the other package
        return L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[*callbacks]
        )

    data = quiet(table())
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: trainer(OneCycle()).fit(Own(), data.loader("train")),
        lambda: trainer().fit(Own(), datamodule=data),
        lambda: lr_find(trainer(), Own(), data),  # type: ignore[arg-type]
        lambda: trainer().fit(TabularModule(data), data),
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for attempt in attempts:
            with pytest.raises(TypeError) as raised:
                attempt()
            print(raised.value)
    print(*(each.message for each in warned), file=sys.stderr)


def test_a_part_of_one_package_in_the_trainer_of_the_other_is_one_sentence() -> None:
    status, told, errors = Forked(mix).ended()

    assert status == 0, errors
    sentence = (
        "it builds on pytorch_lightning, and the Trainer comes from lightning.pytorch, whose classes are unrelated"
    )
    *refused, unknown = told.splitlines()
    assert [line.partition(": ")[0] for line in refused] == ["OneCycle", "TabularDataModule", "lr_find"]
    assert all(f": {sentence}. To build on lightning.pytorch, import it before" in line for line in refused)
    assert "got `TabularModule`" in unknown  # Lightning's own words, before anything of the module is called
    assert "TabularModule: it builds on pytorch_lightning, and lightning.p" in errors


def compute() -> None:
    """Enough for torch to use all its threads."""
    numbers = torch.ones(2000, 500)
    (numbers.exp() @ numbers.T).softmax(1).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_after_the_parent_has() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    compute()
    child = multiprocessing.get_context("fork").Process(target=compute)

    child.start()
    child.join(30)
    ended = child.exitcode
    child.kill()
    torch.set_num_threads(before)

    assert ended == 0
