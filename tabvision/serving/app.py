"""The web application: routes, endpoints, middleware and error responses."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import numpy as np
import pandas as pd
from starlette.applications import Starlette
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tabvision import __version__
from tabvision.errors import TabvisionError, listed, speaking
from tabvision.inference.batches import Inputs
from tabvision.schema import Schema
from tabvision.serving.batcher import Answer, MicroBatcher
from tabvision.serving.page import page
from tabvision.serving.requests import (
    BAD_REQUEST,
    OVERLOADED,
    TOO_LARGE,
    WRONG_KIND,
    WRONG_VALUES,
    Limits,
    RequestError,
    SharedBudget,
    check_images,
    rows_of_json,
)

TIMED_OUT, FORBIDDEN, FAILED = 408, 403, 500
_BLOCK_BYTES = 1 << 26  # for PIL: only blocks above 32 MB are sure to go back to the system when freed
_LOG = logging.getLogger("tabvision.serving")


class ServedModel(Protocol):
    """A model to serve: a `Predictor` or an `OnnxPredictor`."""

    @property
    def schema(self) -> Schema:
        """Return the schema of its inputs and predictions."""

    @property
    def predict(self) -> Callable[..., pd.DataFrame]:
        """Return a function from the inputs that `read` made to one row of predictions per row."""

    @property
    def read(self) -> Callable[..., Inputs]:
        """Return a function from rows, or images as bytes, to the network's inputs."""


@speaking("serve")
def create_app(
    model: ServedModel, limits: Limits | None = None, *, hosts: Sequence[str] = (), uncertainty: bool = False
) -> Starlette:
    """Return the application for one model.

    `GET /` returns a page to try it by hand, `POST /predict` predictions, `GET /health` the status, `GET /schema` the schema.

    Args:
        model: A `Predictor` or an `OnnxPredictor`.
        limits: The limits of a request; None for the defaults.
        hosts: Host names to accept; empty accepts all. They guard against DNS rebinding, where another site's page points
            its own host name at this machine.
        uncertainty: Whether to include the uncertainty in each answer, as in `Predictor.predict`.
    """
    service = _Service(model, limits or Limits(), {"uncertainty": True} if uncertainty else {})
    if model.schema.image is not None:
        from PIL import Image

        Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]  # documented, but not in `__all__`

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await service.batcher.close()

    routes = [
        Route("/", service.index),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/health", service.health),
        Route("/schema", service.schema),
    ]
    handlers: Any = {
        RequestError: lambda _, error: _failure(error.status, error.sentence),
        TabvisionError: lambda _, error: _failure(WRONG_VALUES, str(error)),
        HTTPException: _refused,
    }
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.add_middleware(_HeaderChecks, hosts=hosts)
    app.state.service = service
    return app


class _Service:
    """The endpoints of one model; `settings` are passed to its `predict`."""

    def __init__(self, model: ServedModel, limits: Limits, settings: Mapping[str, Any]) -> None:
        self.model, self.limits, self.settings = model, limits, settings
        self.bytes = SharedBudget(limits.max_total_bytes, "bytes")
        self.pixels = SharedBudget(limits.max_total_pixels, "pixels")
        self.batcher = MicroBatcher(self._answer, batch_rows=limits.batch_rows, max_waiting=limits.max_waiting)

    async def index(self, _: Request) -> Response:
        """Return the page to try the model by hand."""
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'"
        policy += "; img-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTMLResponse(page(self.model.schema, nonce), headers={"Content-Security-Policy": policy} | _SAFE)

    async def predict(self, request: Request) -> Response:
        """Return the answers for rows or images: a list, or one object for a single row sent as an object."""
        try:
            return await self._predict(request)
        except (RequestError, TabvisionError, HTTPException):
            raise  # each of these has a handler
        except asyncio.CancelledError:  # the server is shutting down
            return _failure(OVERLOADED, "The server is stopping. Ask another one, or later.")
        except Exception:  # a bug: the client gets the status, the log the details
            _LOG.exception("A request failed.")
            return _failure(FAILED, "The server failed on this request. See its log for details.")

    async def _predict(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        takes_images = kind == "multipart/form-data" and self.model.schema.image is not None
        if not takes_images and kind != "application/json":
            raise RequestError(WRONG_KIND, self._expected_body(kind))
        if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
            raise RequestError(WRONG_KIND, f"The body must be sent as it is, got Content-Encoding {encoding!r}.")
        declared, most = request.headers.get("content-length", ""), self.limits.max_bytes
        with self.bytes.reserve(min(int(declared), most) if declared.isdigit() else most):
            body = await _read_body(request, self.limits)
            rows: list[Any]
            is_one, images = False, list[bytes]()
            if not takes_images:
                rows, is_one = rows_of_json(body, self.model.schema, self.limits)
            elif self.model.schema.is_of_images:
                rows = images = await self._images(request, body)
            else:
                row, images = await self._row(request, body)
                rows, is_one = [row], True
            with self.pixels.reserve(await self._num_pixels(images)):
                answers = await self.batcher.submit(rows)
            return _reply(answers[0] if is_one else answers)

    async def _num_pixels(self, images: list[bytes]) -> int:
        if not images and not self.model.schema.is_of_images:
            return 0
        return await asyncio.to_thread(check_images, images, self.limits, self.model.schema.image)

    async def health(self, _: Request) -> Response:
        """Return the status, the task and the version."""
        return _reply({"status": "ok", "task": self.model.schema.task.name, "version": __version__})

    async def schema(self, _: Request) -> Response:
        """Return the schema of the model."""
        return _reply(self.model.schema.to_dict())

    def _answer(self, rows: list[Any]) -> list[Answer]:
        inputs = self.model.read(rows)
        found = self.model.predict(inputs, **self.settings)
        answers = found.to_dict("records")
        if found.attrs.get("unseen") or found.attrs.get("outside"):
            _add_unseen(inputs, answers)
        if found.attrs.get("absent"):
            _add_unreadable(rows, inputs, answers)
        for answer in answers:
            if not isinstance(answer.get("error", ""), str):
                del answer["error"]  # this row has an answer
        return [{"error": answer["error"]} if "error" in answer else answer for answer in answers]

    def _expected_body(self, kind: str) -> str:
        image = self.model.schema.image
        wanted = "multipart/form-data with images" if image is not None else "application/json"
        wanted = "application/json, or multipart/form-data with images" if image and image.optional else wanted
        return f"The body must be {wanted}, got {kind or 'no Content-Type'!r}."

    async def _row(self, request: Request, body: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """Return a row of columns and images: the field `row` has the columns as JSON, and one file field each image.

        Raises:
            RequestError: A field is neither `row` nor an image column, or the columns are invalid.
        """
        image = self.model.schema.image
        assert image is not None, "_predict passes forms to models of images only"
        columns = image.columns
        async with self._form(request, body) as form:
            text, files = form.get("row"), {name: value for name, value in form.multi_items() if name != "row"}
            if not isinstance(text, str) or len(form.multi_items()) != len(files) + 1:
                raise RequestError(
                    WRONG_VALUES, 'The field "row" must hold the columns as JSON, and each field come once.'
                )
            if wrong := [name for name, it in files.items() if name not in columns or not isinstance(it, UploadFile)]:
                sentence = f"The field {wrong[0]!r} is not one of the image columns ({listed(columns)})."
                raise RequestError(WRONG_VALUES, sentence)
            images = {name: await value.read() for name, value in files.items() if isinstance(value, UploadFile)}
        rows, is_one = rows_of_json(text.encode(), self.model.schema, self.limits)
        if not is_one:
            raise RequestError(WRONG_VALUES, 'The field "row" must hold one row.')
        return {**rows[0], **images}, list(images.values())

    def _form(self, request: Request, body: bytes) -> AbstractAsyncContextManager[FormData]:
        """Parse the form in a body that has already been read."""

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        files = self.limits.max_rows + 1  # let one more through, for `check_images` to refuse
        most = self.limits.max_bytes
        return Request(request.scope, receive).form(max_files=files, max_fields=16, max_part_size=most)

    async def _images(self, request: Request, body: bytes) -> list[bytes]:
        async with self._form(request, body) as form:
            values = [value for _, value in form.multi_items()]
            if any(isinstance(value, str) for value in values):
                sentence = "A field holds text, and no path or URL is opened. Upload the image's file itself."
                raise RequestError(WRONG_VALUES, sentence)
            return [await value.read() for value in values if isinstance(value, UploadFile)]


def _add_unseen(inputs: Inputs, answers: list[Answer]) -> None:
    """Add to each answer the columns whose values are unlike those of training."""
    for key, found in (("unseen", inputs.unseen_rows), ("outside", inputs.outside_rows)):
        for column, rows in found.items():
            for row in rows.tolist():
                answers[row].setdefault(key, []).append(column)


def _add_unreadable(rows: list[Any], inputs: Inputs, answers: list[Answer]) -> None:
    """Add to each answer the columns whose images were sent but could not be read."""
    for column, numbers in ({} if inputs.images is None else inputs.images.absent).items():
        for row in numbers:
            if rows[row][column] is not None:
                answers[row].setdefault("unreadable", []).append(column)


async def _read_body(request: Request, limits: Limits) -> bytes:
    """Read the whole body.

    Raises:
        RequestError: The body is too long or arrives too slowly.
    """
    too_long = RequestError(TOO_LARGE, f"The body must have {limits.max_bytes:,} bytes at most.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.max_bytes:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(limits.read_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.max_bytes:
                    raise too_long
    except TimeoutError as error:
        raise RequestError(TIMED_OUT, f"The body did not arrive within {limits.read_seconds:g} seconds.") from error
    except ClientDisconnect as error:
        raise RequestError(BAD_REQUEST, "The client disconnected.") from error
    return bytes(body)


def _reply(content: object, status: int = 200) -> Response:
    """Return a strict JSON response, with numpy's scalars as Python's; a NaN in it turns it into a failure."""
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, default=np.generic.item)
    except ValueError:
        return _failure(FAILED, "The model's answer is not a finite number. Check its weights and its training.")
    return Response(text.encode(), status, media_type="application/json", headers=_SAFE)


def _failure(status: int, sentence: str) -> Response:
    """Return an error as JSON."""
    return _reply({"error": sentence}, status)


_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class _HeaderChecks:
    """Refuse a request with two body lengths, or one for a host name that is not allowed, if `hosts` names any.

    Two lengths also close the connection, since a proxy may have used the other one.

    Source: RFC 9112, section 6.1, "request smuggling".
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if {"content-length", "transfer-encoding"} <= {*headers}:
            both = "The request has both a Content-Length and a Transfer-Encoding. Send one of them."
            answer = _failure(BAD_REQUEST, both)
            answer.headers["Connection"] = "close"
            return answer
        host = headers.get("host", "")
        # drop the port; an IPv6 address keeps its brackets
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if self.hosts and name.lower() not in self.hosts:
            sentence = f"This server is not known as {host!r}. Call it as {', '.join(sorted(self.hosts))}."
            return _failure(FORBIDDEN, sentence)
        return None


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "Not found. Call /, /predict, /health or /schema.",
        405: "Call /predict with POST, the others with GET.",
    }
    answer = _failure(error.status_code, sentences.get(error.status_code, str(error.detail)))
    answer.headers.update(error.headers or {})  # such as Allow
    return answer
