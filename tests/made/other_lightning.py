"""What a process does in which there is no `pytorch_lightning`: `python -m tests.made.other_lightning FOLDER`."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

ABSENT = ("pytorch_lightning", "lightning_fabric")


class Blocked:
    """An import hook to which a package is not installed."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Raises for a name of the package; the other hooks find the rest."""
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(folder: Path) -> None:
    """Fits, finds a rate, predicts and loads with each module, then the same by command."""
    os.chdir(folder)
    by_script()
    by_command()
    assert not {*ABSENT} & set(sys.modules)


def by_script() -> None:
    """A small fit of each module by the Trainer of `lightning`."""
    from PIL import Image

    from tabvision.data import CollabDataModule, FusedDataModule, ImageDataModule, TabularDataModule
    from tabvision.modules import CollabModule, FusedModule, TabularModule, VisionModule
    from tests.made.images import write_folder
    from tests.made.ratings import made_ratings
    from tests.made.tables import people

    write_folder(Path("photos"), {"cat": 8, "dog": 8})
    table = people(64)
    table["face"] = [
        f"photos/{('cat', 'dog')[row % 2]}/{('cat', 'dog')[row % 2]}_{row % 8:03}.jpg" for row in range(64)
    ]
    small: dict[str, Any] = {"size": 32, "batch_size": 8, "num_workers": 1, "augment": "none", "verbose": False}
    body: dict[str, Any] = {"body": "test_resnet", "weights": None}
    tabular = TabularDataModule(table, "paid", ignore=["face"], batch_size=16, verbose=False)
    photos = ImageDataModule("photos", **small)
    fused = FusedDataModule(table, "paid", image="face", **small)
    ratings = CollabDataModule(made_ratings(), user="who", item="film", rating="stars", batch_size=64, verbose=False)
    with Image.open("photos/cat/cat_000.jpg") as photo:
        fit(TabularModule(tabular), tabular, table.head(3), staged=False)
        fit(VisionModule(photos, **body), photos, [photo] * 3)
    fit(FusedModule(fused, **body), fused, table.head(3))
    fit(CollabModule(ratings), ratings, made_ratings().head(3), staged=False)


def fit(module: Any, data: Any, source: Any, *, staged: bool = True) -> None:
    """Finds a rate, fits in stages or in one cycle, resumes, predicts, and opens the checkpoint in both ways."""
    import lightning as L  # noqa: N812 - as its users write it
    import torch
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    from tabvision.callbacks import ExactResume, FineTune, OneCycle
    from tabvision.inference import Predictor, gather
    from tabvision.tuning import lr_find

    name = type(module).__name__

    def trainer(epochs: int) -> Any:  # a type checker knows our parts by the other package
        schedule = FineTune(freeze_epochs=1) if staged else OneCycle()
        saving = ModelCheckpoint(name, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
        callbacks: list[Any] = [schedule, ExactResume(), EarlyStopping("val/loss"), saving]
        shown: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return L.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=callbacks, **shown)

    assert lr_find(trainer(3), module, data, num_steps=20).losses
    trainer(2).fit(module, data)
    fitted = trainer(2)
    fitted.fit(module, data, ckpt_path=f"{name}/last.ckpt", weights_only=True)
    assert len(gather(fitted.predict(module, data.loader("val")))["predictions"]) == len(data.parts["val"].rows)
    opened = type(module).load_from_checkpoint(f"{name}/last.ckpt")
    assert all(torch.equal(value, opened.state_dict()[key]) for key, value in module.state_dict().items())
    assert len(Predictor(f"{name}/last.ckpt", device="cpu").predict(source)) == 3


def by_command() -> None:
    """A run by command, its recipe again, and recipes that name either package."""
    from tests.made.tables import TRAIN, people

    people().to_csv("people.csv", index=False)
    run([*TRAIN, "--out", "run"])
    written = Path("run/recipe.yaml").read_text()
    assert "class_path: lightning.pytorch.loggers.CSVLogger" in written
    run(["fit", "--config", "run/recipe.yaml"])
    Path("other.yaml").write_text(written.replace("lightning.pytorch.", "pytorch_lightning."))
    stop = "--trainer.callbacks+=pytorch_lightning.callbacks.EarlyStopping"
    run(["fit", "--safe", "--config", "other.yaml", stop, "--trainer.callbacks.monitor=val/loss"])
    Path("other.yaml").replace("run/recipe.yaml")
    for name in ("predictions.csv", "metrics.json"):  # as if it had been interrupted
        Path("run", name).unlink()
    run(["train", "--resume", "run", "--no-report"])
    run(["predict", "run/best.ckpt", "people.csv", "--out", "answers.csv"])


def run(words: Sequence[str]) -> None:
    """Runs a command that prints nothing here and must succeed."""
    from tabvision.cli import main as tabvision

    with contextlib.redirect_stdout(io.StringIO()):
        assert tabvision(words) == 0, words


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocked())
    main(Path(sys.argv[1]))
