"""`tabvision calibrate`, as a user types it."""

from pathlib import Path

import pytest

from tabvision.cli import calibrate
from tabvision.errors import UnknownNameError
from tabvision.inference.checkpoint import open_checkpoint
from tests.made.commands import run
from tests.made.pairs import make_frame
from tests.made.trained import trained


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("binary", ["--metric", "f1"], ["temperatures: ", "thresholds: ", "expected_calibration_error: "]),
        ("regression", ["--coverage", "0.8"], ["coverage: 0.8", "half_widths: ", "0.0000 before, 0.8"]),
    ],
)
def test_a_calibrated_checkpoint_is_written_and_told_of(
    target: str, options: list[str], told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_frame(300, seed=9).to_csv(tmp_path / "rows.csv", index=False)

    run(calibrate, trained(target)[0], tmp_path / "rows.csv", "--out", tmp_path / "new.ckpt", *options)

    assert open_checkpoint(tmp_path / "new.ckpt").calibration
    out = capsys.readouterr().out
    assert "Calibrated on 300 rows" in out
    for words in told:
        assert words in out


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    make_frame(30).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UnknownNameError, match="no metric named 'auc'"):
        run(calibrate, trained("binary")[0], tmp_path / "rows.csv", "--out", tmp_path / "n.ckpt", "--metric", "auc")
