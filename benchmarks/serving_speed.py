"""Requests per second of `tabvision serve`, compared with a minimal Starlette application around the same Predictor.

    python benchmarks/serving_speed.py --threads 1 --out benchmarks/results/serving_speed.json

Each server has its own process; the clients in this process each hold one connection and send one raw flight at a time. The
minimal application has one route: it reads the JSON, calls `Predictor.predict` in Starlette's threads, and responds, with
no checks and no limits. The two servers alternate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.common import OWN_PACKAGES, describe_run, make_parser, run_facts, table, tell
from benchmarks.prediction_speed import briefly_trained
from benchmarks.tables import SETS
from tabvision.inference import Predictor
from tabvision.serving import serve

CLIENTS = (16, 64)
WARM_UP = 100  # requests before timing starts
HOST = "127.0.0.1"
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
PACKAGES = (*OWN_PACKAGES, "starlette", "uvicorn")


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    result = {**run_facts(options.threads, PACKAGES), "load": options.load, **measure(options)}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2_000, help="in a round")
    parser.add_argument("--load", default="nothing else ran", help="what else the machine did, for the report")
    return parser.parse_args(words)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return both servers' requests per second for each number of clients."""
    data = SETS["flights"].make(SETS["flights"].batch_size)
    frame = data.frame.drop(columns="late").sample(200, random_state=0)
    rows = [line.encode() for line in frame.to_json(orient="records", lines=True).splitlines()]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "net.ckpt"
        briefly_trained(data, path)
        with running(ours, path, options.threads) as first, running(minimal, path, options.threads) as second:
            ports = {"tabvision": first, "minimal": second}
            for port in ports.values():
                asyncio.run(answered(port, rows, 1, WARM_UP))
            return {"requests": options.requests, "clients": rounds(ports, rows, options)}


def rounds(ports: Mapping[str, int], rows: Sequence[bytes], options: argparse.Namespace) -> dict[str, Any]:
    """Return alternating rounds of both servers for each number of clients."""
    found: dict[str, Any] = {}
    for num in CLIENTS:
        runs = [
            {name: asyncio.run(answered(port, rows, num, options.requests)) for name, port in ports.items()}
            for _ in range(options.rounds)
        ]
        found[str(num)] = {
            name: {key: statistics.median(run[name][key] for run in runs) for key in ("per_second", "p50", "p99")}
            for name in ports
        }
        ratios = [run["tabvision"]["per_second"] / run["minimal"]["per_second"] for run in runs]
        found[str(num)]["times_as_fast"] = {"median": statistics.median(ratios), "rounds": ratios}
    return found


async def answered(port: int, rows: Sequence[bytes], num_clients: int, num_requests: int) -> dict[str, float]:
    """Return requests per second, and percentiles of the milliseconds per request.

    The clients write and read raw HTTP bytes themselves, since a client library would be slower than the servers.
    """
    times: list[float] = []

    async def ask(first: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        for number in range(first, num_requests, num_clients):
            start = time.perf_counter()
            content = rows[number % len(rows)]
            writer.write(HEAD % len(content) + content)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(head.decode())
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            times.append(time.perf_counter() - start)
        writer.close()
        await writer.wait_closed()

    start = time.perf_counter()
    await asyncio.gather(*map(ask, range(num_clients)))
    seconds = time.perf_counter() - start
    spans = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.5, 0.99], dtype=torch.float64)) * 1e3
    return {"per_second": num_requests / seconds, "p50": float(spans[0]), "p99": float(spans[1])}


def ours(path: Path, port: int, threads: int) -> None:
    """Run `tabvision serve`."""
    torch.set_num_threads(threads)
    serve(path, port=port, device="cpu")


def minimal(path: Path, port: int, threads: int) -> None:
    """Run one route around the predictor."""
    torch.set_num_threads(threads)
    predictor = Predictor(path, device="cpu")

    async def predict(request: Request) -> Response:
        answers = await run_in_threadpool(predictor.predict, json.loads(await request.body()))
        return JSONResponse(answers.to_dict("records"))

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.run(app, host=HOST, port=port, log_level="warning", access_log=False)


@contextmanager
def running(server: Callable[[Path, int, int], None], path: Path, threads: int) -> Iterator[int]:
    """Run a server in its own process, and yield its port once it listens."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=server, args=(path, port, threads), daemon=True)
    process.start()
    try:
        while True:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except ConnectionRefusedError:
                if not process.is_alive():
                    raise
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.join()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        number: int = found.getsockname()[1]
        return number


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    rows = [
        [
            f"{num} clients",
            *(f"{found[name]['per_second']:,.0f}/s" for name in ("tabvision", "minimal")),
            f"{found['times_as_fast']['median']:.2f}",
            *(f"{found[name]['p99']:,.0f} ms" for name in ("tabvision", "minimal")),
        ]
        for num, found in result["clients"].items()
    ]
    headers = [
        "one raw flight per request",
        "tabvision serve",
        "minimal Starlette",
        "ratio",
        "99 % within",
        "minimal: 99 % within",
    ]
    load = f"On this machine, {result['load']}."
    return f"{table(headers, rows)}\n\n{load} {describe_run(dict(result))}."


if __name__ == "__main__":
    main()
