"""Starting and stopping: a free port, a taken one, signals."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.inference import OnnxPredictor, Predictor
from tabvision.serving import serve
from tabvision.serving import server as server_room
from tabvision.serving.app import create_app
from tabvision.serving.server import _make_server, _stopped_by_signals, listen, load
from tests.made.commands import Forked
from tests.made.servers import model
from tests.made.trained import exported, trained

ROOT = Path(__file__).parents[2]
START = "import sys; from tabvision.serving import serve; serve(sys.argv[1], port=0, device='cpu')"
START_ONNX = """
import sys
from tabvision.inference import OnnxPredictor
from tabvision.serving import serve
serve(OnnxPredictor(sys.argv[1]), port=0)
"""


@pytest.mark.parametrize(
    ("number", "kind"), [pytest.param(signal.SIGINT, "checkpoint", marks=pytest.mark.slow), (signal.SIGTERM, "onnx")]
)
def test_a_signal_ends_it_cleanly(number: signal.Signals, kind: str) -> None:
    path, start = (exported("binary"), START_ONNX) if kind == "onnx" else (trained("binary")[0], START)
    process = subprocess.Popen(
        [sys.executable, "-c", start, str(path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        (address,) = re.findall(r"at (http://127\.0\.0\.1:\d+) \(stop with Ctrl\+C\)", line)
        assert wait_for(address)["status"] == "ok"
    finally:
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)

    assert process.returncode == 0
    assert out == "Stopped.\n"
    assert "Traceback" not in errors


def run_on(listening: socket.socket, *before: signal.Signals) -> None:
    """Serves on a socket, after signals that came while it started."""
    server = _make_server(create_app(model()))
    with _stopped_by_signals(server):
        for number in before:
            signal.raise_signal(number)
        server.run(sockets=[listening])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_it_starts_ends_it(number: signal.Signals) -> None:
    with listen("127.0.0.1", 0) as listening:
        assert Forked(run_on, listening, number).ended(30) == (0, "", "")


def test_a_request_that_a_stop_cannot_wait_for_is_refused_also_by_a_second_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_room, "_STOP_SECONDS", 1)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n["
    with listen("127.0.0.1", 0) as listening:
        process = Forked(run_on, listening)
        wait_for(f"http://127.0.0.1:{listening.getsockname()[1]}")
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(head)
            wait_for(f"http://127.0.0.1:{listening.getsockname()[1]}")
            for _ in range(2):
                os.kill(process.process.pid or 0, signal.SIGINT)
            client.settimeout(30)
            answer = client.makefile("rb").read().decode()
    status, _, errors = process.ended(30)

    assert answer.startswith("HTTP/1.1 503")
    assert "The server is stopping." in answer
    assert status == 0
    assert "Traceback" not in errors


def wait_for(address: str) -> Any:
    """The health of a server that has its socket already: the connection waits until it answers."""
    return httpx.get(f"{address}/health", timeout=30).json()


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(BadValueError, match=rf"serve: cannot listen on port {port} of 127.0.0.1 \(.*in use\)"):
            serve(trained("binary")[0], port=port)


@pytest.mark.parametrize(
    ("host", "port", "error", "message"),
    [
        ("127.0.0.1", -1, BadValueError, "port must lie in 0 to 65535, got -1"),
        ("127.0.0.1", 70_000, BadValueError, "port must lie in 0 to 65535"),
        ("127.0.0.1", "80", BadTypeError, "port must be a whole number, got '80'"),
        ("127.0.0.1", True, BadTypeError, "port must be a whole number"),
        ("no such host.invalid", 0, BadValueError, "cannot be resolved"),
        ("203.0.113.7", 0, BadValueError, "cannot listen on port"),
    ],
)
def test_a_wrong_address_is_told(host: str, port: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"serve: .*{message}"):
        listen(host, port)


def test_what_is_no_model_is_told_and_the_socket_is_given_back() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(MissingFileError, match=r"no checkpoint at 'nowhere.ckpt'"):
        serve("nowhere.ckpt", port=port)

    listen("127.0.0.1", port).close()


def test_a_recipe_constructs_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")

    with pytest.raises(BadValueError, match="is a recipe, not a checkpoint, and was not opened"):
        serve(tmp_path / "recipe.yaml", port=0)

    assert not (tmp_path / "ran").exists()


def test_the_suffix_says_what_is_served() -> None:
    assert isinstance(load(exported("binary")), OnnxPredictor)
    assert isinstance(load(trained("binary")[0], "cpu"), Predictor)


WITHOUT = """
import sys
from tabvision.errors import BadValueError
from tabvision.serving import serve
for package in ("uvicorn", "starlette", "python_multipart"):
    sys.modules[package] = None  # how Python marks what cannot be imported
    try:
        serve("nowhere.ckpt", port=0)
    except BadValueError as error:
        print(error)
    del sys.modules[package]
"""


def test_a_missing_package_is_named_before_anything_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=True)

    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for package, line in zip(("uvicorn", "starlette", "python_multipart"), lines, strict=True):
        assert f"serve: serving needs {package}, which is not installed. Install it: pip install" in line
