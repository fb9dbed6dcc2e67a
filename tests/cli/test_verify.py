"""A run of `tabvision train --verifiable` is replayed by `tabvision verify`, which finds what was changed."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tabvision.cli import chain, main, verify
from tabvision.cli.chain import write_chain
from tabvision.cli.run_recipe import read_recipe
from tabvision.cli.verify import chance_to_find, draw
from tests.made.images import write_folder
from tests.made.ratings import made_ratings
from tests.made.tables import nothing_to_learn

COMMON = ["--accelerator", "cpu", "--verifiable", "--quiet", "--no-report"]
RATINGS = ["train", "ratings.csv", "--user", "who", "--item", "film", "--target", "stars", "--epochs", "3", *COMMON]
TABLE = ["train", "people.csv", "--target", "paid", "--batch-size", "4", *COMMON]
PHOTOS = ["train", "photos", "--body", "test_resnet", "--weights", "none", "--size", "32", "--epochs", "4", *COMMON]
RUN = Path("runs/ratings")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on ratings."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made_ratings().to_csv("ratings.csv", index=False)
        assert main(RATINGS) == 0
    return folder


@pytest.fixture
def run(trained: Path, folder: Path) -> Path:
    """The same in the working directory."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return RUN


def chained_again(run: Path) -> None:
    """Writes a chain over the files as they are, as a forger can."""
    write_chain(run, read_recipe(run / "recipe.yaml"), None, torch.device("cpu"))


def with_other_weights(file: Path) -> None:
    """Changes one bit of the weights in a checkpoint."""
    state = torch.load(file, weights_only=True)
    weight = next(value for value in state["state_dict"].values() if value.is_floating_point())
    weight.view(torch.int32).flatten()[0] ^= 1
    torch.save(state, file)


@pytest.mark.usefixtures("run")
def test_a_replayed_run_is_what_its_recipe_and_data_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(RUN), "--share", "1", "--safe"]) == 0

    out = capsys.readouterr().out
    assert "Compared bit for bit." in out
    assert "3 of 3 stretches were replayed, and none differs." in out


@pytest.mark.usefixtures("folder")
@pytest.mark.slow
@pytest.mark.parametrize("words", [TABLE, [*TABLE, "--epochs", "4"], PHOTOS], ids=["table", "epochs", "photos"])
def test_so_are_tables_and_photos(words: list[str]) -> None:
    nothing_to_learn().to_csv("people.csv", index=False)
    write_folder(Path("photos"), {"cat": 12, "dog": 18})
    assert main([*words, "--out", "own"]) == 0

    assert main(["verify", "own", "--share", "1"]) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ((RUN / "chain.jsonl").unlink, "'runs/ratings' has no chain.jsonl, which tabvision train --verifiable"),
        (Path("ratings.csv").unlink, "'ratings.csv', listed in 'runs/ratings/chain.jsonl', is missing"),
        (
            lambda: Path("ratings.csv").write_text("who,film,stars,when\n"),
            "'ratings.csv' is not the file that the fit used",
        ),
        ((RUN / "checkpoints/step=9.ckpt").unlink, "'checkpoints/step=9.ckpt', listed in"),
        (lambda: with_other_weights(RUN / "checkpoints/step=9.ckpt"), ".ckpt' is not the file that the fit used"),
        (
            lambda: (RUN / "recipe.yaml").write_text("{}"),
            "'runs/ratings/recipe.yaml' is not the file that the fit used",
        ),
    ],
    ids=["no chain", "no data", "data", "no checkpoint", "checkpoint", "recipe"],
)
@pytest.mark.usefixtures("run")
def test_a_changed_file_is_a_sentence(
    change: Callable[[], object], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change()

    assert main(["verify", str(RUN)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_line_of_the_chain_cannot_be_changed_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run / "chain.jsonl").read_text().splitlines()
    (run / "chain.jsonl").write_text("\n".join([*lines[:3], lines[3].replace('"step": ', '"step": 1'), *lines[4:]]))

    assert main(["verify", str(run)]) == 2
    assert "line 4 of 'runs/ratings/chain.jsonl' was changed after line 5 was written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoints/step=9.ckpt", "best.ckpt", "last.ckpt"])
def test_a_forged_chain_is_found_by_a_full_replay(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_other_weights(run / name)
    chained_again(run)

    assert main(["verify", str(run), "--share", "1"]) == 1

    out = capsys.readouterr().out
    assert f"net.users.weight of {Path(name).name} differs from the replay's" in out
    assert "3 of 3 stretches were replayed, and 1 differs" in out


def test_elsewhere_weights_may_differ_by_a_fraction_of_how_far_they_moved(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(chain, "facts_of", lambda _device: {"processor": "an abacus"})
        chained_again(run)

    assert main(["verify", str(run), "--share", "1"]) == 0
    assert "Compared within 0.05 of how far the weights moved, since these differ: " in capsys.readouterr().out

    weights = {"w": torch.tensor([0.0, 1.0])}
    for end, is_near in ((1.04, True), (1.06, False), (float("nan"), False)):
        saved = {"w": torch.tensor([0.0, end])}
        assert (verify._difference(Path("a"), saved, weights, {"w": torch.zeros(2)}) == "") == is_near


@pytest.mark.parametrize(("num_forged", "share"), [(1, 0.05), (5, 0.1), (20, 0.05)])
def test_a_draw_finds_forgeries_as_often_as_the_formula_says(num_forged: int, share: float) -> None:
    chance, num_trials = random.Random(0), 200
    forged = {*chance.sample(range(60), num_forged)}

    found = sum(bool(forged & {*draw(60, share, chance)}) for _ in range(num_trials))

    expected = chance_to_find(num_forged, 60, len(draw(60, share, chance)))
    deviation = (expected * (1 - expected) / num_trials) ** 0.5
    assert abs(found / num_trials - expected) < 3 * deviation


@pytest.mark.usefixtures("folder")
def test_what_a_recipe_cannot_repeat_is_not_verifiable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TABLE, "--preset", "best"]) == 2
    assert (
        "--verifiable is for a fit that its recipe repeats bit for bit, which --preset best" in capsys.readouterr().err
    )
