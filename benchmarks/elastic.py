"""Two hosts on one machine: one fails mid-epoch, the other continues alone, a new host joins, the result is the same.

    python benchmarks/elastic.py --out benchmarks/results/elastic.json

Two `torchrun` agents meet on the loopback and run `benchmarks/elastic_train.py`, one process each. One agent is killed with
its process. The other restarts its process, which continues from the last checkpoint with gradient accumulation, until a
new agent joins and both continue. The result is compared with an undisturbed fit on two ranks.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, describe_run, make_parser, run_facts, tell
from tabvision.errors import count

HOSTS = 2
MAX_RESTARTS = 3
TOLERANCE = 1e-4  # for float32 weights
MAX_SECONDS = 300  # kills a run that hangs
# without this, torch 2.14 gives restarted processes the addresses of dead ones, and they wait for each other forever
FRESH_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def main(words: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
        result = {**run_facts(threads=1), **compare(Path(folder))}
    tell(result, to_markdown(result), options.out)
    if result["different"] or result["distance"] > TOLERANCE:
        raise SystemExit(1)


def run(folder: Path) -> None:
    """Start one agent per host and one to replace the host that fails, and wait for all."""
    port, running = free_port(), []
    try:
        running += [start(folder, port, 0), start(folder, port, 1)]
        running[1].wait(timeout=MAX_SECONDS)
        end = time.monotonic() + MAX_SECONDS
        while not (folder / "alone").exists() and running[0].poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        running.append(start(folder, port, 2))
        codes = [agent.wait(timeout=MAX_SECONDS) for agent in (running[0], running[2])]
    finally:
        for agent in running:
            agent.kill()
    if any(codes):
        raise RuntimeError("\n".join(log.read_text()[-4000:] for log in sorted(folder.glob("host*.log"))))


def start(folder: Path, port: int, host: int) -> subprocess.Popen[bytes]:
    """Start the agent of a host; the second host will fail."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **FRESH_STORE}
    environment |= {"MAY_FAIL": "1"} if host == 1 else {}
    with (folder / f"host{host}.log").open("w") as output:
        return subprocess.Popen(agent(folder, port, host), stdout=output, stderr=output, env=environment, cwd=ROOT)


def agent(folder: Path, port: int, host: int) -> list[str]:
    """Return the command for each host; with real host names in place of the loopback, it works on a cluster."""
    words = {
        "--nnodes": "1:2",
        "--nproc-per-node": 1,
        "--max-restarts": MAX_RESTARTS,
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": f"127.0.0.1:{port}",
        "--rdzv-id": "elastic",
        # the first host has the store; the others wait for it for seconds here rather than half a minute
        "--rdzv-conf": f"is_host={host == 0},last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3",
        "--local-addr": "127.0.0.1",
        "--monitor-interval": 0.1,
    }
    options = [f"{name}={value}" for name, value in words.items()]
    script = str(Path(__file__).with_name("elastic_train.py"))
    return [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *options, script, str(folder)]


def free_port() -> int:
    """Return a free port on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(folder: Path) -> dict[str, Any]:
    """Return what the ranks recorded: where they resumed, how many they were, and how far the weights are off."""
    import torch

    from benchmarks.elastic_train import FAILS_AT, SAVE_EVERY

    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(HOSTS)]
    lives = [[int(word) for word in line.split()] for line in (folder / "lives.txt").read_text().splitlines()]
    joined = {
        fit: torch.cat([tensor.double().flatten() for tensor in ranks[0][fit]["weights"].values()])
        for fit in ("interrupted", "undisturbed")
    }
    distance = (joined["interrupted"] - joined["undisturbed"]).norm() / joined["undisturbed"].norm()
    different = [
        f"{fit}: {name}"
        for fit in ("interrupted", "undisturbed")
        for name, tensor in ranks[1][fit]["weights"].items()
        if not torch.equal(tensor, ranks[0][fit]["weights"][name])
    ]
    return {
        "hosts": HOSTS,
        "saved_every": SAVE_EVERY,
        "failed_at": FAILS_AT,
        "lives": [{"from_step": step, "ranks": world_size} for step, world_size in lives],
        "steps": ranks[0]["interrupted"]["steps"],
        "distance": float(f"{float(distance):.1e}"),
        "different": different,
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a sentence about what happened."""
    story = f"{result['hosts']} hosts; one was killed after step {result['failed_at']} of {result['steps']}"
    lives = ", then ".join(f"{count(life['ranks'], 'rank')} from step {life['from_step']}" for life in result["lives"])
    end = f"The final weights differ by {result['distance']:.2g}, relative to their size, from those of an undisturbed fit"
    return f"{story}. Training ran on {lives}. {end}, and are bit-identical on both hosts.\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
