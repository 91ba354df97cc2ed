"""Reader of requests for a cluster: CSV, one request per line, named columns, and a line per group of servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._cluster.data import on_hosts
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving._traces.reader import PATIENCE_S, columns_of, host_of

FORMAT = (
    "CSV with a header: arrival_s, prompt_tokens, output_tokens and, optionally, predicted_output, session, "
    "session_tokens, prefix, prefix_tokens, priority, ttft_slo_s, tpot_slo_s; before it a line per group of servers, "
    "'# servers=4 device=A100-80 model=Llama-3.1-8B', and the size of cache blocks on the first: cache_tokens=64"
)
OPTIONAL = (
    "predicted_output",
    "session",
    "session_tokens",
    "prefix",
    "prefix_tokens",
    "priority",
    "ttft_slo_s",
    "tpot_slo_s",
)


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [read_with(file, on_hosts) for file in files_of(path)]


def read_with(path: Path, build: Callable[..., Any]) -> Instance:
    """Read a file; ``build`` makes an instance as on_hosts does.

    Raises
    ------
    BadInstance
        If the file breaks the format, or is refused.
    """
    numbered, hosts, cache_tokens = lines_of(path), [], 64
    while numbered and numbered[0][1].startswith("#"):
        place, words = f"{path}, line {numbered[0][0]}", numbered.pop(0)[1][1:].split()
        cache_tokens = whole_number(place, words, "cache_tokens", cache_tokens)
        servers = whole_number(place, words, "servers", 1)
        hosts.append((host_of(place, words, Host("A100-80", "Llama-3.1-8B", max_output=2048)), servers))
    columns = columns_of(path, numbered, OPTIONAL, FORMAT)
    if not hosts:
        raise BadInstance(f"{path}: needs a line for the servers; the format is {FORMAT}")
    try:
        requests = make_requests(**columns)
        horizon_s = float(requests.arrival_s[-1]) + PATIENCE_S
        data = build(requests, hosts, horizon_s, cache_tokens=cache_tokens)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return Instance(path.stem, " + ".join(f"{count} {host}" for host, count in hosts), data)


def whole_number(place: str, words: list[str], name: str, default: int) -> int:
    """Take a word such as servers=4 out of the words; its number."""
    for word in words:
        key, _, value = word.partition("=")
        if key == name:
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise BadInstance(f"{place}: {name} must be a whole number, got {value!r}")
            words.remove(word)
            return int(value)
    return default
