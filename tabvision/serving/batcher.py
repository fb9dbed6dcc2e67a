"""Batch the rows of concurrent requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, final

from tabvision.serving.requests import OVERLOADED, RequestError

Answer: TypeAlias = dict[str, Any]
AnswerAll: TypeAlias = Callable[[list[Any]], list[Answer]]
_Request: TypeAlias = tuple[list[Any], "asyncio.Future[list[Answer]]"]


@final
class MicroBatcher:
    """Answer requests in batches: requests that arrive while one batch is computed form the next.

    A lone request never waits for others, and under load batches grow up to the limit. One thread computes. If a batch
    raises, each of its requests is answered separately, so that no request fails because of another's rows.

    Args:
        answer: A function from rows to one answer per row.
        batch_rows: The most rows in a batch; the rows of one request stay together.
        max_waiting: The most requests that may be waiting.
    """

    def __init__(self, answer: AnswerAll, *, batch_rows: int, max_waiting: int) -> None:
        self._answer = answer
        self._batch_rows, self._max_waiting = batch_rows, max_waiting
        self._waiting: deque[_Request] = deque()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="tabvision-serve")
        self._worker: asyncio.Task[None] | None = None
        self.num_batches = 0

    async def submit(self, rows: list[Any]) -> list[Answer]:
        """Return one answer per row.

        Raises:
            RequestError: Too many requests are waiting.
            TabvisionError: The rows are invalid.
        """
        if len(self._waiting) >= self._max_waiting:
            raise RequestError(OVERLOADED, "Too many requests are waiting. Try again later.")
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Answer the waiting requests, then stop."""
        if self._worker is not None:
            await self._worker
        self._threads.shutdown()

    async def _work(self) -> None:
        await asyncio.sleep(0)  # lets requests that have already arrived join the batch
        while self._waiting:
            batch = self._next_batch()
            if not await self._try([row for rows, _ in batch for row in rows], batch):
                for one in batch:
                    await self._try(one[0], [one])

    def _next_batch(self) -> list[_Request]:
        batch = [self._waiting.popleft()]
        num_rows = len(batch[0][0])
        while self._waiting and num_rows + len(self._waiting[0][0]) <= self._batch_rows:
            batch.append(self._waiting.popleft())
            num_rows += len(batch[-1][0])
        return batch

    async def _try(self, rows: list[Any], batch: Sequence[_Request]) -> bool:
        """Answer the requests; return False if they must be retried one by one. A single request gets its error."""
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._threads, self._answer, rows)
        except Exception as error:  # raised again in the waiting request
            if len(batch) > 1:
                return False
            self._settle(batch[0][1], error)
            return True
        self.num_batches += 1
        start = 0
        for own_rows, future in batch:
            self._settle(future, answers[start : start + len(own_rows)])
            start += len(own_rows)
        return True

    @staticmethod
    def _settle(future: asyncio.Future[list[Answer]], result: list[Answer] | Exception) -> None:
        """Set the result, unless the client has disconnected."""
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
