"""Reader of requests for one server: CSV, one request per line, named columns, and a line for the host."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._server.machine import Host, Serving, on_host
from problems.serving._server.requests import Requests, make_requests

FORMAT = (
    "CSV with a header: arrival_s, prompt_tokens, output_tokens and, optionally, predicted_output, priority, "
    "ttft_slo_s, tpot_slo_s; a first line '# device=A100-80 model=Llama-3.1-8B tp=1 share=1' names the host"
)
_NEEDED = ("arrival_s", "prompt_tokens", "output_tokens")
_OPTIONAL = ("predicted_output", "priority", "ttft_slo_s", "tpot_slo_s")
PATIENCE_S = 600.0


def _plain(requests: Requests, host: Host) -> Serving:
    return on_host(requests, host, float(requests.arrival_s[-1]) + PATIENCE_S)


def read(path: Path, build: Callable[[Requests, Host], Serving] = _plain) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name; ``build`` makes an instance of what stands there.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_file(file, build) for file in files_of(path)]


def _read_file(path: Path, build: Callable[[Requests, Host], Serving]) -> Instance:
    host, numbered = Host("A100-80", "Llama-3.1-8B", max_output=2048), lines_of(path)
    if numbered and numbered[0][1].startswith("#"):
        host = host_of(f"{path}, line {numbered[0][0]}", numbered[0][1][1:].split(), host)
        del numbered[0]
    columns = columns_of(path, numbered, _OPTIONAL, FORMAT)
    try:
        data = build(make_requests(**columns), host)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return Instance(path.stem, str(host), data)


def columns_of(
    path: Path, numbered: list[tuple[int, str]], optional: tuple[str, ...], form: str
) -> dict[str, list[float]]:
    """Columns of requests by name, from a header on; a predicted output that is missing is the true one.

    Raises
    ------
    BadInstance
        If there are no requests, or a line or column breaks the format.
    """
    if len(numbered) < 2:
        raise BadInstance(f"{path}: the file holds no requests")
    header = [word.strip() for word in next(csv.reader([numbered[0][1]]))]
    for name in header:
        if name not in (*_NEEDED, *optional):
            raise BadInstance(f"{path}, line {numbered[0][0]}: unknown column {name!r}; the format is {form}")
    for name in _NEEDED:
        if header.count(name) != 1:
            raise BadInstance(f"{path}, line {numbered[0][0]}: needs a column {name}; the format is {form}")
    columns: dict[str, list[float]] = {name: [] for name in header}
    for k, line in numbered[1:]:
        words = next(csv.reader([line]))
        if len(words) != len(header):
            raise BadInstance(f"{path}, line {k}: {len(words)} values for {len(header)} columns")
        for name, word in zip(header, words, strict=True):
            columns[name].append(number(f"{path}, line {k}", name, word))
    columns.setdefault("predicted_output", columns["output_tokens"])
    return columns


def host_of(place: str, words: list[str], host: Host) -> Host:
    """A host by words such as device=A100-80, where they differ from another; BadInstance if one is wrong."""
    for word in words:
        name, _, value = word.partition("=")
        if name == "device":
            host = host._replace(device=value)
        elif name == "model":
            host = host._replace(model=value)
        elif name == "tp" and value.isascii() and value.isdigit():
            host = host._replace(tp=int(value))
        elif name == "max_output" and value.isascii() and value.isdigit():
            host = host._replace(max_output=int(value))
        elif name == "share":
            host = host._replace(share=number(place, name, value))
        else:
            raise BadInstance(f"{place}: a host is given by device, model, tp, share and max_output, got {word!r}")
    return host


def number(place: str, name: str, word: str) -> float:
    """A number that is not NaN."""
    try:
        value = float(word)
    except ValueError:
        raise BadInstance(f"{place}: {name} must be a number, got {word.strip()!r}") from None
    if math.isnan(value):
        raise BadInstance(f"{place}: {name} must be a number, got {word.strip()!r}")
    return value
