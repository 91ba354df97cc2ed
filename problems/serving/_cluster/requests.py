"""Requests for a cluster: no longer than servers can hold, with what was promised, and a few for probes."""

from __future__ import annotations

import numpy as np

from problems.serving._server.requests import Requests, make_requests
from problems.serving._workloads.workloads import Workload

HASTE = 0.2  # pauses over those of the workloads
_INTERACTIVE = 2 / 3  # share of requests
_PATIENT = (5, 3)  # what others have for the first token and between tokens, over what the interactive have


def sooner(workload: Workload) -> Workload:
    """The workload with shorter pauses between the requests of a conversation."""
    if workload.conversation is None:
        return workload
    pause = workload.conversation.pause
    medians = tuple(tuple(HASTE * median for median in row) for row in pause.medians)
    low, high = (tuple(HASTE * bound for bound in bounds) for bounds in (pause.low, pause.high))
    pause = pause._replace(medians=medians, low=low, high=high)
    return workload._replace(conversation=workload.conversation._replace(pause=pause))


def promised(requests: Requests, most: tuple[int, int], slo_s: tuple[float, float], seed: int) -> Requests:
    """Requests of at most so many prompt and output tokens, two thirds of them interactive.

    Interactive ones are promised a first token and gaps between tokens within ``slo_s``, others have more time.
    """
    prompt = np.minimum(requests.prompt_tokens, most[0])
    interactive = np.random.default_rng(seed).random(len(prompt)) < _INTERACTIVE
    ttft_slo_s, tpot_slo_s = (
        np.where(interactive, slo, factor * slo) for slo, factor in zip(slo_s, _PATIENT, strict=True)
    )
    columns = requests._asdict() | {
        "prompt_tokens": prompt,
        "output_tokens": np.minimum(requests.output_tokens, most[1]),
        "predicted_output": np.clip(requests.predicted_output, 1.0, most[1]),
        "session_tokens": np.minimum(requests.session_tokens, prompt),
        "prefix_tokens": np.minimum(requests.prefix_tokens, prompt),
        "priority": np.where(interactive, 0, 1),
        "ttft_slo_s": ttft_slo_s,
        "tpot_slo_s": tpot_slo_s,
    }
    return make_requests(**columns)


def few(rng: np.random.Generator, n: int, gap_s: float) -> Requests:
    """Requests of a probe: prompts of up to 700 and outputs of up to 64 tokens, some of one conversation."""
    gaps = rng.exponential(gap_s, n)
    prompt, output = rng.integers(16, 700, n), rng.integers(2, 65, n)
    # The first two requests never meet, and fare differently.
    prompt[:2], output[:2], gaps[1] = (200, 500), (8, 12), 3.0
    prefix = rng.integers(-1, 2, n)
    shared = np.where(prefix >= 0, np.minimum(96, prompt), 0)
    return make_requests(
        np.cumsum(gaps),
        prompt,
        output,
        np.clip(output * np.exp(0.5 * rng.standard_normal(n)), 1.0, 64.0),
        prefix=prefix,
        prefix_tokens=shared,
        session=rng.integers(-1, 5, n),
        session_tokens=np.maximum(shared, (prompt * rng.random(n)).astype(np.int64)),
        priority=rng.integers(0, 2, n),
        ttft_slo_s=1.0,
        tpot_slo_s=0.1,
    )
