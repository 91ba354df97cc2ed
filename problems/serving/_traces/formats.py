"""Lines of the public trace formats: what one request is in each, and which rule a broken line breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

NONE = -1


class Broken(ValueError):
    """A line breaks its format; the message is the rule."""


class Line(NamedTuple):
    """One request as its line states it."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    session: str = ""  # of the source's own; empty: none
    chat: int = NONE  # number of this request, and of the one it continues
    parent: int = NONE
    blocks: tuple[int, ...] = ()


class Format(NamedTuple):
    """One public format."""

    name: str
    title: str
    block_tokens: int  # of a block of ``blocks``; 0: the format has none
    # the first line of a file -> a reader of the lines after it (and of the first itself, if it is data)
    recognise: Callable[[str], Callable[[str], Line] | None]
    header: bool  # the first line holds names of columns


def _whole(value: str, what: str) -> int:
    text = value.strip()
    # int() alone would take "1_000" and digits of other scripts
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 15):
        raise Broken(f"{what} must be a whole number, got {text!r}")
    return _not_negative(int(text), what)


def _not_negative(value: int, what: str) -> int:
    if value < 0:
        raise Broken(f"{what} must not be negative, got {value}")
    return value


def _seconds(value: Any, what: str, unit_s: float = 1.0) -> float:
    try:
        number = float(value) * unit_s
    except (TypeError, ValueError):
        raise Broken(f"{what} must be a number, got {value!r}") from None
    if isinstance(value, bool) or not 0 <= number < 1e12:
        raise Broken(f"{what} must be a number >= 0, got {value!r}")
    return number


def _moment(text: str) -> float:
    """Seconds since 1970 of a time stamp with up to nine digits of fraction, kept by hand: datetime has six."""
    stamp = text.strip()
    head, point, tail = stamp.partition(".")
    digits = tail
    zone = ""
    for sign in "+-Z":
        if point and sign in digits:
            digits, _, rest = digits.partition(sign)
            zone = "+00:00" if sign == "Z" else sign + rest
    try:
        moment = datetime.fromisoformat(head + (zone or ("" if "+" in head else "+00:00")))
        fraction = float("0." + digits) if digits else 0.0
    except ValueError:
        raise Broken(f"TIMESTAMP must be a date and time such as 2023-11-16 18:15:46.68, got {stamp!r}") from None
    return moment.timestamp() + fraction


def _columns(first: str, needed: tuple[str, ...]) -> dict[str, int] | None:
    names = [name.strip().lstrip("\ufeff").casefold() for name in first.split(",")]
    return {name: names.index(name) for name in needed} if set(needed) <= set(names) else None


def _cells(line: str, width: int) -> list[str]:
    cells = line.split(",")
    if len(cells) != width:
        raise Broken(f"a line must hold {width} values as the header does, got {len(cells)}")
    return cells


def _azure(first: str) -> Callable[[str], Line] | None:
    at = _columns(first, ("timestamp", "contexttokens", "generatedtokens"))
    if at is None:
        return None
    width = first.count(",") + 1

    def line(text: str) -> Line:
        cells = _cells(text, width)
        return Line(
            _moment(cells[at["timestamp"]]),
            _whole(cells[at["contexttokens"]], "ContextTokens"),
            _whole(cells[at["generatedtokens"]], "GeneratedTokens"),
        )

    return line


def _burstgpt(first: str) -> Callable[[str], Line] | None:
    at = _columns(first, ("timestamp", "request tokens", "response tokens"))
    if at is None:
        return None
    width = first.count(",") + 1
    session = _columns(first, ("session id",))

    def line(text: str) -> Line:
        cells = _cells(text, width)
        return Line(
            _seconds(cells[at["timestamp"]], "Timestamp"),
            _whole(cells[at["request tokens"]], "Request tokens"),
            _whole(cells[at["response tokens"]], "Response tokens"),
            session=cells[session["session id"]].strip() if session else "",
        )

    return line


def _object(text: str, *, unit_s: float, chat: bool) -> Line:
    try:
        found = json.loads(text)
    except ValueError:
        raise Broken(f"a line must be one JSON object, got {text[:40]!r}") from None
    if not isinstance(found, dict):
        raise Broken(f"a line must be one JSON object, got {text[:40]!r}")
    whole = {}
    for key in ("input_length", "output_length", *(("chat_id", "parent_chat_id") if chat else ())):
        value = found.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Broken(f"{key} must be a whole number, got {value!r}")
        whole[key] = value if key == "parent_chat_id" else _not_negative(value, key)
    if "timestamp" not in found:
        raise Broken("timestamp is missing")
    blocks = found.get("hash_ids", [])
    if not isinstance(blocks, list) or any(isinstance(b, bool) or not isinstance(b, int) for b in blocks):
        raise Broken(f"hash_ids must be a list of whole numbers, got {str(blocks)[:40]}")
    return Line(
        _seconds(found["timestamp"], "timestamp", unit_s),
        whole["input_length"],
        whole["output_length"],
        chat=whole.get("chat_id", NONE),
        parent=whole.get("parent_chat_id", NONE),
        blocks=tuple(blocks),
    )


def _bailian(first: str) -> Callable[[str], Line] | None:
    if not (first.lstrip().startswith("{") and '"chat_id"' in first):
        return None
    return lambda text: _object(text, unit_s=1.0, chat=True)


def _mooncake(first: str) -> Callable[[str], Line] | None:
    if not first.lstrip().startswith("{"):
        return None
    return lambda text: _object(text, unit_s=1e-3, chat=False)


FORMATS = (
    Format("azure", "Azure LLM inference 2023 and 2024: CSV TIMESTAMP,ContextTokens,GeneratedTokens", 0, _azure, True),
    Format("burstgpt", "BurstGPT: CSV with Timestamp (s), Request tokens, Response tokens", 0, _burstgpt, True),
    Format("bailian", "Qwen-Bailian: JSON lines with chat_id, timestamp (s), hash_ids", 16, _bailian, False),
    Format("mooncake", "Mooncake: JSON lines with timestamp (ms), hash_ids", 512, _mooncake, False),
)
