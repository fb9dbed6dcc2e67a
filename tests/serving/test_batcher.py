"""Requests that arrive together are answered together, and each gets its own."""

import asyncio
import threading
from typing import Any

import pytest

from tabvision.errors import BadValueError
from tabvision.serving.batcher import MicroBatcher
from tabvision.serving.requests import RequestError


class Doubler:
    """Answers twice each number; refuses batches that hold a negative one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, rows: list[Any]) -> list[dict[str, Any]]:
        self.go.wait()
        self.batches.append(rows)
        if min(rows) < 0:
            raise BadValueError("Doubler", f"numbers must not be negative, got {min(rows)}", "Pass others")
        return [{"double": 2 * row} for row in rows]


async def ask_all(batcher: MicroBatcher, requests: list[list[int]]) -> list[Any]:
    found = await asyncio.gather(*(batcher.submit(rows) for rows in requests), return_exceptions=True)
    await batcher.close()
    return found


def test_requests_that_come_together_share_batches_up_to_the_limit() -> None:
    double = Doubler()
    requests = [[place, place + 1] for place in range(10)]

    answers = asyncio.run(ask_all(MicroBatcher(double, batch_rows=6, max_waiting=100), requests))

    assert answers == [[{"double": 2 * row} for row in rows] for rows in requests]
    assert max(map(len, double.batches)) <= 6
    assert len(double.batches) < 10


def test_a_request_larger_than_a_batch_stays_whole() -> None:
    double = Doubler()

    answers = asyncio.run(ask_all(MicroBatcher(double, batch_rows=2, max_waiting=9), [[1, 2, 3, 4], [5]]))

    assert [len(each) for each in answers] == [4, 1]
    assert [1, 2, 3, 4] in double.batches


def test_one_requests_error_is_not_anothers() -> None:
    answers = asyncio.run(ask_all(MicroBatcher(Doubler(), batch_rows=100, max_waiting=9), [[1], [-1], [2]]))

    assert answers[0] == [{"double": 2}]
    assert isinstance(answers[1], BadValueError)
    assert answers[2] == [{"double": 4}]


def test_too_many_waiting_requests_are_refused() -> None:
    double = Doubler()
    double.go.clear()

    async def crowd() -> list[Any]:
        batcher = MicroBatcher(double, batch_rows=1, max_waiting=2)
        asking = [asyncio.ensure_future(batcher.submit([row])) for row in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="Too many requests are waiting"):
            await batcher.submit([9])
        double.go.set()
        found = await asyncio.gather(*asking)
        await batcher.close()
        return found

    assert asyncio.run(crowd()) == [[{"double": 0}], [{"double": 2}]]


def test_a_client_that_has_gone_disturbs_nobody() -> None:
    double = Doubler()
    double.go.clear()

    async def leave() -> list[dict[str, Any]]:
        batcher = MicroBatcher(double, batch_rows=9, max_waiting=9)
        gone, here = asyncio.ensure_future(batcher.submit([1])), asyncio.ensure_future(batcher.submit([2]))
        await asyncio.sleep(0)
        gone.cancel()
        double.go.set()
        answer = await here
        await batcher.close()
        return answer

    assert asyncio.run(leave()) == [{"double": 4}]
