"""What came back from a model: an answer, or what a failure means for asking again and for the bill.

litellm dresses most errors up as status 500, so the chain of causes is searched for what really
happened: an HTTP status, a connection that never stood, or one that broke.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from evolve.keys import redact

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONGEST_MESSAGE = 300
# openai 3 speaks HTTP through httpx2, openai 2 and litellm through httpx; their errors have the same names.
_TRANSPORTS = ("httpx", "httpx2")


class Usage(NamedTuple):
    """Tokens that a server counted."""

    input_tokens: int
    output_tokens: int  # reasoning included
    cached_tokens: int = 0  # of the input
    reasoning_tokens: int = 0  # of the output


class Answer(NamedTuple):
    """What a server returned."""

    text: str
    finish: str
    usage: Usage | None
    flaw: str = ""  # why there is no text to use


class Fault(NamedTuple):
    """Why a request gave no answer, in one line that names the way out.

    ``kind`` is ``fatal`` if no request can work, ``setup`` if that is so unless one worked before,
    ``busy`` if the same request may work later, ``lost`` if it should not be made again.
    """

    reason: str
    kind: Literal["fatal", "setup", "busy", "lost"]
    charged: bool = False  # whether the provider may bill it
    pause_s: float = 0.0  # what the server asks to wait
    reached: bool = True  # whether there was a server


def read_answer(response: Any) -> Answer | Fault:
    """The answer in a chat completion; clients hand over whatever the server sent, so nothing is sure."""
    choices = getattr(response, "choices", None)
    if not isinstance(choices, list):
        return Fault("no chat completion came back; check --api-base (most end in /v1)", "setup", charged=True)
    choice = choices[0] if choices else None
    message = getattr(choice, "message", None)
    text, refusal = getattr(message, "content", None), getattr(message, "refusal", None)
    text = redact(text) if isinstance(text, str) else ""
    finish = str(getattr(choice, "finish_reason", None) or "")
    flaw = ""
    if isinstance(refusal, str) and refusal:
        text, flaw = redact(refusal), f"the model refused: {one_line(refusal)}"
    elif not choices:
        flaw = "the reply has no choices"
    elif not text.strip() and getattr(message, "tool_calls", None):
        flaw = "the reply is a tool call without text"
    elif not text.strip():
        flaw = "the reply is empty" + (": reasoning took all output tokens" if finish == "length" else "")
    return Answer(text, finish, _usage(getattr(response, "usage", None)), flaw)


def _usage(usage: Any) -> Usage | None:
    """Tokens, or None where the server did not count."""
    prompt, completion, total = (_count(usage, f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if prompt <= 0 or completion < 0:
        return None
    # Some servers leave reasoning out of the completion, but not out of the total.
    output = max(completion, total - prompt)
    cached = _count(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
    reasoning = _count(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")
    reasoning = max(reasoning, output - completion)
    return Usage(prompt, output, min(max(cached, 0), prompt), min(max(reasoning, 0), output))


def _count(counts: Any, name: str) -> int:
    """A number that a server may have left out."""
    count = counts.get(name) if isinstance(counts, dict) else getattr(counts, name, None)
    return count if isinstance(count, int) else 0


def diagnose(error: BaseException, *, key_name: str, address: str) -> Fault:
    """Tell what an exception of openai or litellm means.

    Parameters
    ----------
    error : BaseException
        What the client raised.
    key_name : str
        Environment variable with the key, for the way out.
    address : str
        Where the request went.
    """
    chain = list(_causes(error))
    response = next((getattr(e, "response", None) for e in chain if _is(e, "HTTPStatusError")), None)
    if response is not None:
        said, status, code = *_body(response), response.status_code
        fault = _by_status(code, said, key_name, quota="insufficient_quota" in status or "credit balance" in said)
        return fault._replace(pause_s=retry_after(response.headers))
    if any(_is(e, "ConnectError", "ConnectTimeout") for e in chain):
        reason = (
            f"cannot reach {address}: {one_line(str(chain[-1]))}; start the server, or check --api-base and the network"
        )
        return Fault(reason, "busy", reached=False)
    if any(_is(e, "TimeoutException") for e in chain):
        return Fault("no answer in time", "lost", charged=True)
    if any(_is(e, "TransportError") for e in chain):
        return Fault("the connection broke before the answer was complete", "lost", charged=True)
    if any(isinstance(e, ValueError) for e in chain):
        return Fault("the answer is no complete JSON", "lost", charged=True)
    said = one_line(str(error))
    if "credentials" in said or "api_key" in said:
        return Fault(f"no key: set the environment variable {key_name}", "fatal")
    status_code = getattr(error, "status_code", None)
    if isinstance(status_code, int) and 400 <= status_code < 500:
        return _by_status(status_code, said, key_name)
    return Fault(f"no chat completion came back: {said}; check --model and --api-base", "setup", charged=True)


def _is(error: BaseException, *names: str) -> bool:
    """Whether an error is of such a class of a transport, or of one derived from it."""
    return any(c.__name__ in names and c.__module__.partition(".")[0] in _TRANSPORTS for c in type(error).__mro__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _by_status(status: int, said: str, key_name: str, quota: bool = False) -> Fault:
    if status == 402 or quota:
        return Fault(f"no credit left: {said}; top up the account or name another --model", "fatal")
    if status == 401:
        return Fault(f"the key was refused: {said}; put a valid key into the environment variable {key_name}", "fatal")
    if status == 403:
        return Fault(f"access denied: {said}; check what the key in {key_name} may use", "fatal")
    if status == 404:
        return Fault(f"unknown model or address: {said}; check --model and --api-base", "fatal")
    if status in (408, 504, 524):  # a gateway gave up on a request that may go on behind it
        return Fault(f"no answer in time (status {status}): {said}", "lost", charged=True)
    if status >= 500 or status in (409, 425, 429):
        return Fault(f"the server is busy (status {status}): {said}", "busy")
    return Fault(f"request refused (status {status}): {said}; check --model and its settings", "setup")


def _body(response: Any) -> tuple[str, str]:
    """The message of an error response, and its type and code."""
    try:
        error: Any = response.json()
    except (ValueError, RuntimeError):  # no JSON; a body that was not read
        return one_line(response.reason_phrase), ""
    if isinstance(error, dict):
        error = error.get("error", error)
    if not isinstance(error, dict):
        return one_line(str(error)), ""
    return one_line(
        str(error.get("message") or error.get("detail") or error)
    ), f"{error.get('type')} {error.get('code')}"


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for (a number or a date), 0 without one."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def pause_before_retry(attempt: int, fault: Fault) -> float:
    """Seconds to wait after the attempt of that number (from 0): as asked for, or doubling; with jitter."""
    jitter = random.uniform(0.5, 1.0)
    return fault.pause_s + jitter if fault.pause_s else min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S) * jitter


def one_line(text: str) -> str:
    """A message fit to be shown: one line, redacted, not longer than a few hundred characters."""
    text = " ".join(redact(text).split()).rstrip(".;")
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"
