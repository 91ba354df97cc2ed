"""Reader of requests for a deployment: CSV, one request per line, named columns, and a line per group of instances."""

from __future__ import annotations

from pathlib import Path

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._cluster.data import DECODE, MIXED, PREFILL
from problems.serving._disaggregation.data import Plan, on_hosts
from problems.serving._routing.reader import whole_number
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving._traces.reader import PATIENCE_S, columns_of, host_of

ROLES = {"prefill": PREFILL, "decode": DECODE, "both": MIXED}
FORMAT = (
    "CSV with a header: arrival_s, prompt_tokens, output_tokens and, optionally, predicted_output, priority, "
    "ttft_slo_s, tpot_slo_s (1 and 0.1 s where they are missing); before it a line per group of instances, "
    "'# instances=4 role=prefill device=A100-80 model=Llama-3.1-8B', role prefill, decode or both, and on the first "
    "how many contiguous blocks a copy moves: group_blocks=1"
)
_OPTIONAL = ("predicted_output", "priority", "ttft_slo_s", "tpot_slo_s")
_PROMISED = {"ttft_slo_s": 1.0, "tpot_slo_s": 0.1}


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name. The planned load is the file's own.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_file(file) for file in files_of(path)]


def _read_file(path: Path) -> Instance:
    numbered, hosts, group_blocks = lines_of(path), [], 1
    while numbered and numbered[0][1].startswith("#"):
        place, words = f"{path}, line {numbered[0][0]}", numbered.pop(0)[1][1:].split()
        group_blocks = whole_number(place, words, "group_blocks", group_blocks)
        count, role = whole_number(place, words, "instances", 1), _role(place, words)
        hosts.append((host_of(place, words, Host("A100-80", "Llama-3.1-8B", max_output=2048)), count, role))
    columns = columns_of(path, numbered, _OPTIONAL, FORMAT)
    if not hosts:
        raise BadInstance(f"{path}: needs a line for the instances; the format is {FORMAT}")
    try:
        requests = make_requests(**(_PROMISED | columns))
        end_s = float(requests.arrival_s[-1])
        rate = len(requests.arrival_s) / max(end_s, 1.0)
        plan = Plan(rate, float(requests.prompt_tokens.mean()), float(requests.output_tokens.mean()))
        data = on_hosts(requests, hosts, end_s + PATIENCE_S, plan, group_blocks=group_blocks)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return Instance(path.stem, " + ".join(f"{count} {host}" for host, count, _ in hosts), data)


def _role(place: str, words: list[str]) -> int:
    """Take role=NAME out of the words."""
    for word in words:
        if word.startswith("role="):
            words.remove(word)
            if (name := word.removeprefix("role=")) not in ROLES:
                raise BadInstance(f"{place}: role must be one of {', '.join(ROLES)}, got {name!r}")
            return ROLES[name]
    return MIXED
