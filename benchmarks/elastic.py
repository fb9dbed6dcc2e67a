"""Two hosts on one machine: a rank is killed in the middle of an epoch, torchrun starts it again, the result is the same.

    python benchmarks/elastic.py --out benchmarks/results/elastic.json

Two `torchrun` agents meet on the loopback and train `benchmarks/elastic_train.py`, one process each. One process kills
itself; both agents start theirs again, which go on from the last checkpoint. Compared with an undisturbed fit, bit for bit.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, describe_run, make_parser, run_facts, tell

HOSTS = 2
MAX_RESTARTS = 3
MAX_SECONDS = 300  # stops a run that hangs
# torch 2.14 else hands the addresses of dead processes to those of the next life, which then wait for each other for ever
FRESH_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def main(words: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
        result = {**run_facts(threads=1), **compare(Path(folder))}
    tell(result, to_markdown(result), options.out)
    if result["different"]:
        raise SystemExit(1)


def run(folder: Path) -> None:
    """Starts one agent a host and waits for both."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **FRESH_STORE}
    command = agent(folder, free_port())
    logs = [folder / f"host{host}.log" for host in range(HOSTS)]
    agents = []
    for log in logs:
        with log.open("w") as output:
            agents.append(subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=ROOT))
    try:
        codes = [agent.wait(timeout=MAX_SECONDS) for agent in agents]
    finally:
        for running in agents:
            running.kill()
    if any(codes):
        raise RuntimeError("\n".join(log.read_text()[-4000:] for log in logs))


def agent(folder: Path, port: int) -> list[str]:
    """The command that each host runs; with host names for the loopback it is what a cluster runs."""
    words = {
        "--nnodes": HOSTS,
        "--nproc-per-node": 1,
        "--max-restarts": MAX_RESTARTS,
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": f"127.0.0.1:{port}",
        "--rdzv-id": "elastic",
        "--local-addr": "127.0.0.1",
        "--monitor-interval": 0.1,
    }
    options = [f"{name}={value}" for name, value in words.items()]
    script = str(Path(__file__).with_name("elastic_train.py"))
    return [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *options, script, str(folder)]


def free_port() -> int:
    """A port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(folder: Path) -> dict[str, Any]:
    """What both ranks wrote down: where they went on, and which tensors differ from the undisturbed fit's by a bit."""
    import torch

    from benchmarks.elastic_train import KILLED_AT, SAVE_EVERY

    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(HOSTS)]
    expected = ranks[0]["undisturbed"]["weights"]
    different = [
        f"rank {rank}, {fit}: {name}"
        for rank, seen in enumerate(ranks)
        for fit in ("interrupted", "undisturbed")
        for name, tensor in seen[fit]["weights"].items()
        if not torch.equal(tensor, expected[name])
    ]
    first = ranks[0]
    return {
        "hosts": HOSTS,
        "killed": (folder / "killed").exists(),
        "saved_every": SAVE_EVERY,
        "killed_at": KILLED_AT,
        "went_on_from": first["interrupted"]["went_on_from"],
        "steps": first["interrupted"]["steps"],
        "tensors": len(expected),
        "different": different,
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """What happened, in a sentence."""
    story = f"{result['hosts']} hosts; one process killed after step {result['killed_at']} of {result['steps']}"
    end = (
        f"went on from step {result['went_on_from']}; {len(result['different'])} of {result['tensors']} tensors differ"
    )
    return f"{story}; {end} from an undisturbed fit.\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
