"""Reader of requests for a fleet: CSV, one request per line, named columns, and a line per pool of instances."""

from __future__ import annotations

from pathlib import Path

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._fleet.data import Offer, make_elastic, pool_on
from problems.serving._fleet.suites import PATIENCE_S, with_bound
from problems.serving._routing.reader import OPTIONAL
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving._traces.reader import columns_of, host_of, number

FORMAT = (
    "CSV with a header: arrival_s, prompt_tokens, output_tokens and, optionally, predicted_output, session, "
    "session_tokens, prefix, prefix_tokens, priority, ttft_slo_s, tpot_slo_s; before it a line per pool, "
    "'# places=8 first=4 least=1 price=2.0 device=A100-80 model=Llama-3.1-8B' (dollars an hour), and on the first "
    "the size of cache blocks, cache_tokens=64, and dollars for a broken promise, penalty=0.002"
)


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_file(file) for file in files_of(path)]


def _read_file(path: Path) -> Instance:
    numbered, offers, cache_tokens, penalty = lines_of(path), [], 0, 0.001
    while numbered and numbered[0][1].startswith("#"):
        place, words = f"{path}, line {numbered[0][0]}", numbered.pop(0)[1][1:].split()
        cache_tokens = int(_take(place, words, "cache_tokens", cache_tokens))
        penalty = _take(place, words, "penalty", penalty)
        places, least = int(_take(place, words, "places", 1)), int(_take(place, words, "least", 1))
        first, price = int(_take(place, words, "first", least)), _take(place, words, "price", 1.0)
        host = host_of(place, words, Host("A100-80", "Llama-3.1-8B", max_output=2048))
        offers.append(Offer(host, places, price, least, first))
    columns = columns_of(path, numbered, OPTIONAL, FORMAT)
    if not offers:
        raise BadInstance(f"{path}: needs a line for the instances; the format is {FORMAT}")
    try:
        requests = make_requests(**columns)
        horizon_s = float(requests.arrival_s[-1]) + PATIENCE_S
        pools = [pool_on(offered, horizon_s) for offered in offers]
        data = make_elastic(requests, pools, penalty, cache_tokens=cache_tokens)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return with_bound(path.stem, " + ".join(f"{offered.places} {offered.host}" for offered in offers), data)


def _take(place: str, words: list[str], name: str, default: float) -> float:
    """Take a word such as places=4 out of the words; its number."""
    for word in words:
        key, _, value = word.partition("=")
        if key == name:
            found = number(place, name, value)
            if name not in ("price", "penalty") and (found != int(found) or abs(found) > 1e9):
                raise BadInstance(f"{place}: {name} must be a whole number, got {value!r}")
            words.remove(word)
            return found
    return default
