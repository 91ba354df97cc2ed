"""What went on in a fleet, in words: its size, broken promises and when they were broken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.serving._fleet.data import Elastic
from problems.serving._fleet.engine import Scaling
from problems.serving._fleet.log import KIND_BITS, PLACE_BITS, START, TIME_SHIFT
from problems.serving._server.machine import HORIZON

SPAN_S = 30.0


def explain(data: Elastic, solution: Scaling) -> str:
    """How many instances there were, how many promises were broken, and what load and fleet were like at the worst."""
    requests, horizon_s = data.cluster.requests, float(data.cluster.time_s[HORIZON])
    finished = np.isfinite(solution.finish_s)
    end_s = max(horizon_s, float(solution.finish_s[finished].max(initial=0.0)))
    first_s = np.where(np.isfinite(solution.first_token_s), solution.first_token_s, end_s)
    late = first_s - requests.arrival_s > requests.ttft_slo_s
    decode_s = np.where(finished, solution.finish_s, end_s) - first_s
    slow = decode_s > requests.tpot_slo_s * np.maximum(requests.output_tokens - 1, 1)
    broken = late | slow | ~finished
    spans = (requests.arrival_s / SPAN_S).astype(np.int64)
    worst = int(np.bincount(spans, broken).argmax())
    inside = spans == worst
    times, live = _sizes(solution)
    at = np.searchsorted(times, worst * SPAN_S, side="right") - 1
    mean = float((live * np.diff(np.append(times, horizon_s))).sum() / horizon_s)
    return (
        f"promises broken by {100 * broken.mean():.1f} % of requests: {100 * late.mean():.1f} % for the first token, "
        f"{100 * slow.mean():.1f} % for the pace; {int((~finished).sum())} unfinished. Instances started and not "
        f"stopped: {live.min()} to {live.max()}, mean {mean:.1f}; {len(solution.moves)} starts and stops, "
        f"{max(len(solution.log) - len(finished), 0)} requests sent again after failures. Worst {SPAN_S:.0f} s: from "
        f"{worst * SPAN_S:.0f} s on, {int(broken[inside].sum())} of {inside.sum()} broken, {live[at]} instances at "
        f"first, {inside.sum() / SPAN_S:.2g} requests/s (mean {len(spans) / requests.arrival_s[-1]:.2g}), longest wait "
        f"{(first_s - requests.arrival_s)[inside].max():.3g} s."
    )


def _sizes(solution: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds, and instances that are started and not stopped from each on, failed ones among them."""
    live: set[int] = set()
    sizes: dict[int, int] = {}
    for entry in solution.moves.tolist():
        place, kind = (entry >> KIND_BITS) & ((1 << PLACE_BITS) - 1), entry & ((1 << KIND_BITS) - 1)
        live = live | {place} if kind == START else live - {place}
        sizes[entry >> TIME_SHIFT] = len(live)
    return 1e-3 * np.array(list(sizes)), np.array(list(sizes.values()))


def narrate(data: Elastic, solution: Scaling) -> Sequence[str]:
    """Starts and stops in order."""
    told = []
    for entry in solution.moves.tolist():
        place = (entry >> KIND_BITS) & ((1 << PLACE_BITS) - 1)
        verb = "start" if entry & ((1 << KIND_BITS) - 1) == START else "stop"
        told.append(f"{1e-3 * (entry >> TIME_SHIFT):g} s: {verb} place {place} of pool {data.cluster.kind[place]}")
    return told
