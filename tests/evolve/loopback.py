"""A loopback OpenAI-compatible server with scripted answers; standard library only.

    with Loopback(say("Hello"), status(429, retry_after=1), say("again")) as server:
        ...  # POST server.url + "/chat/completions"; server.requests holds what came in

Answers are given in order, one per request; the last one repeats.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float  # time.monotonic()

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])


Answer = Callable[["_Handler"], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 resets connections when many come at once
    loopback: Loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    asked: Request

    def do_POST(self) -> None:
        loopback = self.server.loopback
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Request(self.path, headers, body, time.monotonic())
        answer = loopback._take(self.asked)
        try:
            answer(self)
        finally:
            loopback._leave()

    def send(self, code: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Loopback:
    """The server; ``url`` is its base address, ``peak`` the most requests it had at once."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.open = self.peak = 0
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.open += 1
            self.peak = max(self.peak, self.open)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def _leave(self) -> None:
        with self._lock:
            self.open -= 1


def say(
    text: str | None,
    *,
    usage: tuple[int, int] | None = (100, 20),
    finish: str = "stop",
    delay_s: float = 0.0,
    **message: Any,
) -> Answer:
    """A chat completion with one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return completion({"choices": [choice]}, usage=usage, delay_s=delay_s)


def completion(fields: dict[str, Any], *, usage: tuple[int, int] | None = (100, 20), delay_s: float = 0.0) -> Answer:
    """A chat completion with the given fields."""
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "scripted", **fields}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}

    def answer(handler: _Handler) -> None:
        handler.server.loopback.closing.wait(delay_s)
        handler.send(200, json.dumps(body).encode())

    return answer


def say_by(text: Callable[[Request], str], *, delay_s: Callable[[Request], float] = lambda request: 0.0) -> Answer:
    """A chat completion whose text is a function of the question, like a model at temperature 0."""
    return lambda handler: say(text(handler.asked), delay_s=delay_s(handler.asked))(handler)


def status(code: int, message: str = "scripted", *, kind: str = "", **headers: object) -> Answer:
    """An error in OpenAI's form; ``retry_after=2`` sends that header."""
    body = json.dumps({"error": {"message": message, "type": kind or "error", "code": kind or None}}).encode()
    return lambda handler: handler.send(code, body, **{name: str(value) for name, value in headers.items()})


def raw(body: bytes, content_type: str = "application/json") -> Answer:
    """Any body with status 200."""
    return lambda handler: handler.send(200, body, content_type)


def trickle(every_s: float = 0.02) -> Answer:
    """An answer that goes on for ever, one blank at a time: never silent, never done."""

    def answer(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while not handler.server.loopback.closing.wait(every_s):
            handler.wfile.write(b"1\r\n \r\n")

    return answer


def hang_up(after: bytes = b"") -> Answer:
    """Close the connection before the answer is complete."""

    def answer(handler: _Handler) -> None:
        if after:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(after) + 100))
            handler.end_headers()
            handler.wfile.write(after)
        handler.close_connection = True

    return answer
