"""Request streams as the CSV files that serving problems read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from evolve.errors import UserError
from problems._hardware.devices import device
from problems._hardware.models import model
from problems.registry import unknown
from problems.serving._server.requests import Requests
from problems.serving._traces.traces import read, trace_requests
from problems.serving._workloads.workloads import WORKLOADS, make_workload

COLUMNS = (
    "arrival_s",
    "prompt_tokens",
    "output_tokens",
    "predicted_output",
    "priority",
    "ttft_slo_s",
    "tpot_slo_s",
)


def draw(source: str, count: int, seed: int, *, rate: float | None, predictor: tuple[str, float]) -> Requests:
    """The first requests of a workload, by name, or of a public trace, by path.

    Raises
    ------
    ValueError
        If the source is neither, the trace is broken, or a number is impossible.
    """
    if source in WORKLOADS:
        changes = {} if rate is None else {"rate_per_s": rate}
        return make_workload(source, count, seed, predictor=predictor, **changes)
    if not Path(source).exists():
        raise ValueError(f"there is no such file; {unknown('workload', source, WORKLOADS)}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    trace = read(Path(source))
    seconds = float(trace.arrival_s[-1])
    if rate is not None and (not rate > 0 or seconds == 0):
        raise ValueError(f"rate must be positive, and the trace longer than a moment, got {rate}")
    load = 1.0 if rate is None else rate * seconds / len(trace.arrival_s)
    whole = trace_requests(trace, seed=seed, predictor=predictor, load=load)
    return Requests(*(column[:count] for column in whole))


def write(requests: Requests, path: Path, *, context_tokens: int, host: tuple[str, str, int]) -> int:
    """Write what fits the context; the number of requests written.

    Raises
    ------
    ValueError
        If the host is unknown or nothing fits.
    UserError
        If the file cannot be written.
    """
    on, of, tp = device(host[0]).name, model(host[1]).name, host[2]
    fits = np.flatnonzero(requests.prompt_tokens + requests.output_tokens <= context_tokens)
    if not len(fits):
        raise ValueError(f"no request has at most {context_tokens} tokens, prompt and output")
    longest = int(requests.output_tokens[fits].max())
    # what a request may generate is known to schedulers: a round number, not the longest answer
    most = 1 << (longest - 1).bit_length()
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            file.write(f"# device={on} model={of} tp={tp} max_output={most}\n")
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(zip(*(getattr(requests, name)[fits].tolist() for name in COLUMNS), strict=True))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    return len(fits)
