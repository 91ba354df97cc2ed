"""Requests to a language model server: what arrives, when, and what a scheduler may know of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NONE = -1  # no tenant, session or shared prefix

# Sums of tokens are kept as floats, and must be exact.
_MOST_TOKENS = 2**40
# Entries of a log pack a request's number into 24 bits.
_MOST_REQUESTS = 2**24


class Requests(NamedTuple):
    """n requests in the order of their arrival. Only output_tokens is hidden from hooks."""

    arrival_s: np.ndarray  # (n,) float64, >= 0, ascending
    prompt_tokens: np.ndarray  # (n,) int64, >= 1, shared prefixes included
    output_tokens: np.ndarray  # (n,) int64, >= 1, true number of tokens generated: hidden from hooks
    predicted_output: np.ndarray  # (n,) float64, > 0, tokens, what a predictor says at arrival
    tenant: np.ndarray  # (n,) int64, or NONE
    session: np.ndarray  # (n,) int64, requests of one conversation or agent, or NONE
    # The leading prompt tokens that repeat prompts and outputs of earlier requests of the session.
    session_tokens: np.ndarray  # (n,) int64, 0..prompt_tokens, prefix_tokens included
    prefix: np.ndarray  # (n,) int64, requests with the same system prompt, or NONE
    prefix_tokens: np.ndarray  # (n,) int64, 0..prompt_tokens, length of that system prompt
    priority: np.ndarray  # (n,) int64, class of service, 0 the most urgent
    ttft_slo_s: np.ndarray  # (n,) float64, > 0, promised time to first token; infinite: none
    tpot_slo_s: np.ndarray  # (n,) float64, > 0, promised time per further output token; infinite: none


# Where nothing is given.
_DEFAULTS = {
    "tenant": NONE,
    "session": NONE,
    "session_tokens": 0,
    "prefix": NONE,
    "prefix_tokens": 0,
    "priority": 0,
    "ttft_slo_s": np.inf,
    "tpot_slo_s": np.inf,
}
_REAL = ("arrival_s", "predicted_output", "ttft_slo_s", "tpot_slo_s")


def make_requests(
    arrival_s: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    predicted_output: ArrayLike,
    **others: ArrayLike,
) -> Requests:
    """Check and freeze requests.

    Parameters
    ----------
    arrival_s, prompt_tokens, output_tokens, predicted_output
        As in Requests.
    others
        Its other fields, by name, each an array or one number for all; by default there are no tenants,
        sessions, shared prefixes or promises.

    Raises
    ------
    ValueError
        Naming the field, the rule, the value and the request.
    """
    if unknown := sorted(others.keys() - _DEFAULTS.keys()):
        raise ValueError(f"requests have no field {unknown[0]!r}; optional ones: {', '.join(_DEFAULTS)}")
    count = np.asarray(arrival_s).size
    given = {
        "arrival_s": arrival_s,
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "predicted_output": predicted_output,
    }
    for name, value in (_DEFAULTS | others).items():
        given[name] = np.full(count, value) if np.ndim(value) == 0 else value
    requests = Requests(**{name: _column(name, given[name], count) for name in Requests._fields})
    _check(requests)
    for array in requests:
        array.setflags(write=False)
    return requests


def _column(name: str, values: ArrayLike, count: int) -> np.ndarray:
    raw = np.asarray(values)
    if raw.shape != (count,) or count == 0:
        raise ValueError(f"{name} must have one entry for each of the requests, got shape {raw.shape} for {count}")
    if raw.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers, got {raw.dtype}")
    if name in _REAL:
        return np.array(raw, dtype=np.float64)
    for i in np.flatnonzero(raw != np.floor(raw))[:1]:
        raise ValueError(f"{name} must be whole numbers, got {raw[i]} at request {i}")
    return np.array(raw, dtype=np.int64)


def _check(requests: Requests) -> None:
    if len(requests.arrival_s) >= _MOST_REQUESTS:
        raise ValueError(f"there must be fewer than {_MOST_REQUESTS} requests, got {len(requests.arrival_s)}")
    for i in np.flatnonzero(~(requests.arrival_s >= 0) | ~np.isfinite(requests.arrival_s))[:1]:
        raise ValueError(f"arrival_s must be finite and not negative, got {requests.arrival_s[i]} at request {i}")
    for i in np.flatnonzero(np.diff(requests.arrival_s) < 0)[:1]:
        raise ValueError(
            f"arrival_s must be ascending, got {requests.arrival_s[i + 1]} at request {i + 1} after "
            f"{requests.arrival_s[i]}: sort the requests by arrival"
        )
    for name in ("prompt_tokens", "output_tokens", "predicted_output", "ttft_slo_s", "tpot_slo_s"):
        column = getattr(requests, name)
        for i in np.flatnonzero(~(column > 0))[:1]:
            raise ValueError(f"{name} must be positive, got {column[i]} at request {i}")
    for i in np.flatnonzero(~np.isfinite(requests.predicted_output))[:1]:
        raise ValueError(f"predicted_output must be finite, got {requests.predicted_output[i]} at request {i}")
    for name in ("prompt_tokens", "output_tokens"):
        if (total := getattr(requests, name).sum(dtype=np.float64)) >= _MOST_TOKENS:
            raise ValueError(f"{name} must sum to less than {_MOST_TOKENS}, got {total:g}")
    for name in ("session_tokens", "prefix_tokens"):
        column = getattr(requests, name)
        for i in np.flatnonzero((column < 0) | (column > requests.prompt_tokens))[:1]:
            raise ValueError(
                f"{name} must be between 0 and prompt_tokens = {requests.prompt_tokens[i]}, got {column[i]} at "
                f"request {i}"
            )
    for name, least in (("tenant", NONE), ("session", NONE), ("prefix", NONE), ("priority", 0)):
        column = getattr(requests, name)
        for i in np.flatnonzero(column < least)[:1]:
            raise ValueError(f"{name} must be at least {least}, got {column[i]} at request {i}")
