"""Headless Chromium, told what to do over its debugging pipe: messages of JSON, each ended by a zero byte."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
MISSING = "Chromium is not installed: apt-get install chromium"
SECONDS = 60  # a stop for what hangs


class Tab:
    """One open page.

    Args:
        asks: Where commands go.
        answers: Where answers and events come from.
    """

    def __init__(self, asks: int, answers: int) -> None:
        self._asks, self._answers = asks, answers
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []  # what the page told while it was asked

    def open(self, address: str) -> None:
        """Shows an address in a new tab."""
        target = self.do("Target.createTarget", url=address)["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def do(self, method: str, **parameters: Any) -> Any:
        """Gives a command and what it gives back."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self._number:
            self.events.append(found)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return found["result"]

    def value_of(self, script: str) -> Any:
        """What JavaScript gives in the page."""
        return self.do("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Waits until JavaScript is true of the page."""
        end = time.monotonic() + SECONDS
        while self.value_of(condition) is not True:
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}: {self.value_of('document.body.innerText')}")
            time.sleep(0.05)

    def choose_files(self, selector: str, paths: list[str]) -> None:
        """Chooses files in an input, as a person does."""
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", nodeId=node, files=paths)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """A browser with a profile of its own."""
    assert CHROMIUM is not None, MISSING
    (reads, asks), (answers, writes) = os.pipe(), os.pipe()
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    words += [f"--user-data-dir={profile}", "--no-first-run"]
    command = ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", *words]  # Chromium takes these two numbers
    process = subprocess.Popen(
        command, pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    os.close(reads)
    os.close(writes)
    try:
        yield Tab(asks, answers)
    finally:
        process.kill()
        process.wait()
        os.close(asks)
        os.close(answers)
