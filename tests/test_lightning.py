"""What Lightning's strategies that fork need of the process that they fork."""

from __future__ import annotations

import multiprocessing
import sys

import pytest
import torch

import tabvision.lightning  # noqa: F401 - it stops the threads


def compute() -> None:
    """Enough for torch to use all its threads."""
    numbers = torch.ones(2000, 500)
    (numbers.exp() @ numbers.T).softmax(1).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_after_the_parent_has() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    compute()
    child = multiprocessing.get_context("fork").Process(target=compute)

    child.start()
    child.join(30)
    ended = child.exitcode
    child.kill()
    torch.set_num_threads(before)

    assert ended == 0
