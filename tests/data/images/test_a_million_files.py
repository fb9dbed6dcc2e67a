"""A folder of a million images: listed, never opened, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Folders that say they hold 100,000 files each. None exists, so to open one would fail.
SCRIPT = """
import contextlib, json, os, resource
from types import SimpleNamespace
from tabvision.data import ImageDataModule

real = os.scandir

def scandir(folder):
    name = os.path.basename(folder)
    if not name.startswith("class_"):
        return real(folder)
    files = (f"{name}_{number:06d}.jpg" for number in range(100_000))
    facts = {"is_dir": bool, "is_symlink": bool, "is_file": lambda: True}
    return contextlib.nullcontext(SimpleNamespace(name=file, path=f"{folder}/{file}", **facts) for file in files)

os.scandir = scandir
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
data = ImageDataModule("photos", size=64, verbose=False)
rows = {name: len(part.rows) for name, part in data.parts.items()}
print(json.dumps({"rows": rows, "steps": len(data.train_dataloader()), "mebibytes": peak() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_a_million_files_take_little_memory_and_none_is_opened(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"photos/class_{number}").mkdir(parents=True)

    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # paths count: short ones

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == {"train": 800_000, "val": 200_000}
    assert found["steps"] == 12_500
    assert found["mebibytes"] < 160
