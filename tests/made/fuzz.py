"""Damage a file in many ways and read each: `python -m tests.made.fuzz FILE SEED CASES`, in a process of its own.

A signal ends the process, and with it the test. What is no sentence of ours, takes longer than 10 s, or needs more than 1 GB
beyond what the imports hold, is printed.
"""

from __future__ import annotations

import faulthandler
import random
import resource
import sys
import time
from pathlib import Path

from tabvision.data.tables.read import read_frame
from tabvision.errors import TabvisionError
from tabvision.logs import notes_at

SECONDS, MOST_KIB = 10, 1 << 20


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some bits changed, a part cut out, doubled or overwritten, or the end missing."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    start = draw.randrange(len(data))
    stop = min(len(data), start + draw.choice([1, 4, 64, 1024]))
    match draw.randrange(8):
        case 0:
            del data[start:stop]
        case 1:
            data[start:start] = data[start:stop]
        case 2:
            data[start:stop] = bytes(draw.choice([0, 127, 255]) for _ in range(stop - start))
        case 3:
            del data[start:]
    return bytes(data)


def main(path: Path, seed: int, cases: int) -> None:
    """Print the cases that end in anything but rows or a sentence."""
    faulthandler.enable()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content, file = path.read_bytes(), path.with_name(f"damaged{path.suffix}")
    for case in range(cases):
        file.write_bytes(damaged(content, random.Random(f"{seed} {case}")))
        start = time.perf_counter()
        try:
            with notes_at(verbose=False):
                frame = read_frame(file)
            for name in frame:
                frame[name].unique()
        except TabvisionError:
            pass
        except Exception as error:  # what this looks for
            print(f"case {case}: {type(error).__name__}: {str(error)[:200]}")
        if (seconds := time.perf_counter() - start) > SECONDS:
            print(f"case {case}: {seconds:.0f} s")
        if (more := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) > MOST_KIB:
            print(f"case {case}: {more:,} KiB more")
            held += more


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
