"""Rows of several requests go through the network together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, final

from tabvision.serving.requests import RequestError

Answer: TypeAlias = dict[str, Any]
AnswerAll: TypeAlias = Callable[[list[Any]], list[Answer]]
_Asked: TypeAlias = tuple[list[Any], "asyncio.Future[list[Answer]]"]
OVERLOADED = 503


@final
class MicroBatcher:
    """Answers requests in batches that form by themselves: while one is under way, the next gathers.

    So a lone request never waits for company, and under load batches grow up to the limit. One thread computes. Where a
    batch is refused, each of its requests is answered alone: nobody's error is another's.

    Args:
        answer: From rows to one answer each.
        batch_rows: Rows of a batch; one request's rows stay together.
        max_waiting: Requests that may wait.
    """

    def __init__(self, answer: AnswerAll, *, batch_rows: int, max_waiting: int) -> None:
        self._answer = answer
        self._batch_rows, self._max_waiting = batch_rows, max_waiting
        self._waiting: deque[_Asked] = deque()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="tabvision-serve")
        self._worker: asyncio.Task[None] | None = None
        self.num_batches = 0

    async def ask(self, rows: list[Any]) -> list[Answer]:
        """One answer for each row.

        Raises:
            RequestError: Too many requests wait already.
            TabvisionError: The rows cannot be answered.
        """
        if len(self._waiting) >= self._max_waiting:
            raise RequestError(OVERLOADED, "Too many requests wait already. Try again in a moment.")
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Answers what waits, then stops."""
        if self._worker is not None:
            await self._worker
        self._threads.shutdown()

    async def _work(self) -> None:
        await asyncio.sleep(0)  # requests that have arrived by now come along
        while self._waiting:
            batch = self._next_batch()
            if not await self._try([row for rows, _ in batch for row in rows], batch):
                for one in batch:
                    await self._try(one[0], [one])

    def _next_batch(self) -> list[_Asked]:
        batch, num_rows = [self._waiting.popleft()], 0
        num_rows = len(batch[0][0])
        while self._waiting and num_rows + len(self._waiting[0][0]) <= self._batch_rows:
            batch.append(self._waiting.popleft())
            num_rows += len(batch[-1][0])
        return batch

    async def _try(self, rows: list[Any], batch: Sequence[_Asked]) -> bool:
        """Whether the requests got their answers, or the one that was alone its error."""
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._threads, self._answer, rows)
        except Exception as error:  # goes to whoever asked, who tells a sentence from a bug
            if len(batch) > 1:
                return False
            _settle(batch[0][1], error)
            return True
        self.num_batches += 1
        place = 0
        for asked, future in batch:
            _settle(future, answers[place : place + len(asked)])
            place += len(asked)
        return True


def _settle(future: asyncio.Future[list[Answer]], result: list[Answer] | Exception) -> None:
    """Hands over, unless the client has gone."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
