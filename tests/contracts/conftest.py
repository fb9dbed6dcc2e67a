"""What several processes do: started before the first contract test, so that the tests of one process pass meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made.images import write_folder
from tests.made.points import spotted
from tests.made.processes import SCRIPTS
from tests.made.processes_pictures import PICTURES

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 600


class Script:
    """A script that runs beside the tests, in a folder that it writes to."""

    def __init__(self, module: str, folder: Path, *names: str) -> None:
        self.folder = folder
        self._errors = folder / "stderr.txt"
        with self._errors.open("w", encoding="utf-8") as errors:
            command = [sys.executable, "-W", "ignore", "-m", module, str(folder), *names]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    def ended(self) -> Path:
        """The folder, once everything is written."""
        code = self._process.wait(TIMEOUT_SECONDS)
        assert code == 0, self._errors.read_text(encoding="utf-8")[-4000:]
        return self.folder

    def kill(self) -> None:
        """Ends it, and the processes that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="session", autouse=True)
def scripts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Script]]:
    """The scripts that a test of this run asks for: two processes that do all that is asked of two, and spawned ones."""
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    running = {}
    if names := [name for name in SCRIPTS if f"{name}_on_two" in asked]:
        folder = tmp_path_factory.mktemp("two_processes")
        if "pictures" in names:
            write_folder(folder / "pictures" / "pictures", PICTURES, size=(36, 40), kind="png")
            spotted(folder / "pictures" / "spots", num=13).to_csv(folder / "pictures" / "spots.csv", index=False)
        running["two"] = Script("tests.made.processes", folder, *names)
    if "spawned" in asked:
        running["spawned"] = Script("tests.made.processes_stages", tmp_path_factory.mktemp("spawned"))
    yield running
    for script in running.values():
        script.kill()


@pytest.fixture(scope="session")
def staged_on_two(scripts: dict[str, Script]) -> Path:
    """Where two processes wrote what they saw at stage borders."""
    return scripts["two"].ended() / "staged"


@pytest.fixture(scope="session")
def pictures_on_two(scripts: dict[str, Script]) -> Path:
    """Where two processes wrote what they saw of pictures, points and ratings."""
    return scripts["two"].ended() / "pictures"


@pytest.fixture(scope="session")
def tables_on_two(scripts: dict[str, Script]) -> Path:
    """Where two processes wrote what they saw of tables."""
    return scripts["two"].ended() / "tables"


@pytest.fixture(scope="session")
def spawned(scripts: dict[str, Script]) -> Path:
    """Where processes that Lightning spawned wrote what they saw."""
    return scripts["spawned"].ended()
