"""Answers as JSON; every error is one sentence in ``{"error": ...}``, as in the Open Inference Protocol."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from tagformer.errors import CannotWriteError, TagformerError
from tagformer.safe_text import printable
from tagformer.serve.batching import BusyError
from tagformer.serve.kept import NotKeptError

LONGEST = 500  # characters of a sentence, which may repeat what a client sent
SENTENCES = {
    404: "there is nothing at this address: see /openapi.json.",
    405: "this address does not take this method: see /openapi.json.",
}


class Json(JSONResponse):
    """JSON in ASCII, so that any text can be sent, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Json:
    """An error as JSON, in one line of limited length that a terminal can show.

    >>> from tagformer.serve.http.responses import error_response
    >>> error_response(422, "the image is broken.").body
    b'{"error":"the image is broken."}'
    """
    line = printable(" ".join(sentence.splitlines()))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - 4]} ..."
    return Json({"error": line}, status, dict(headers or {}))


def sentence_of(error: RequestValidationError) -> str:
    """The first fault of a request in words.

    >>> from fastapi.exceptions import RequestValidationError
    >>> from tagformer.serve.http.responses import sentence_of
    >>> sentence_of(RequestValidationError([{"loc": ("query", "top"), "msg": "Input should be greater than 0"}]))
    'top (query): input should be greater than 0.'
    """
    fault = error.errors()[0]
    place, *path = [str(part) for part in fault.get("loc", ())] or ["request"]
    if fault.get("type") == "json_invalid":
        return f"the body is not JSON ({fault.get('ctx', {}).get('error', 'it cannot be read')})."
    message = str(fault.get("msg", "it is wrong")).rstrip(".")
    message = message[:1].lower() + message[1:]
    return f"{'.'.join(path)} ({place}): {message}." if path else f"the {place}: {message}."


def answer_tagformer_error(_: Request, error: Exception) -> Response:
    """422, or 503 where the server is busy, 404 where an image is not kept, 507 where the disk is full."""
    if isinstance(error, BusyError):
        return error_response(503, str(error), {"Retry-After": str(error.seconds)})
    if isinstance(error, NotKeptError):
        return error_response(404, str(error))
    return error_response(507 if isinstance(error, CannotWriteError) else 422, str(error))


def answer_invalid_request(_: Request, error: Exception) -> Response:
    """422 with the first fault."""
    assert isinstance(error, RequestValidationError)
    return error_response(422, sentence_of(error))


def answer_http_error(_: Request, error: Exception) -> Response:
    """The status of the error, with its sentence or ours."""
    assert isinstance(error, HTTPException)
    sentence = error.detail if isinstance(error.detail, str) else "the request is wrong."
    if sentence == http.HTTPStatus(error.status_code).phrase:  # not one of ours
        sentence = SENTENCES.get(error.status_code, f"{sentence.lower()}.")
    return error_response(error.status_code, sentence, error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer errors as this module does."""
    app.add_exception_handler(TagformerError, answer_tagformer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_request)
    app.add_exception_handler(HTTPException, answer_http_error)
