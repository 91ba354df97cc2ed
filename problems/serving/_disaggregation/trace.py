"""What went on in a solution of serving/prefill_decode, in a line and decision by decision, for prompts and people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.serving._disaggregation.data import Deployment
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.log import HANDED, KIND_BITS, NUMBER_SHIFT, SENT, TURNED

_ROLES = ("both", "prefill", "decode")
_TOLD = 40  # decisions


def explain(data: Deployment, solution: Disaggregation) -> str:
    """Which promise was broken how often, how long caches waited, how instances were used, and the worst request."""
    requests, log = data.cluster.requests, solution.log
    done = np.isfinite(solution.finish_s)
    ttft = solution.first_token_s - requests.arrival_s
    tpot = (solution.finish_s - solution.first_token_s) / np.maximum(requests.output_tokens - 1, 1)
    late_first = 100 * np.mean(~(ttft <= requests.ttft_slo_s))
    late_further = 100 * np.mean(done & (tpot > requests.tpot_slo_s))
    moved = np.isfinite(solution.moved_s) & np.isfinite(solution.first_token_s)
    waited = float(np.mean((solution.moved_s - solution.first_token_s)[moved])) if moved.any() else 0.0
    count, places = len(data.cluster.kind), (log >> KIND_BITS) & 255
    used = (np.bincount(places[log & 3 == kind], minlength=count) for kind in (SENT, HANDED))
    told = [
        f"late first tokens {late_first:.1f} %, late further tokens {late_further:.1f} %",
        f"unfinished {100 * np.mean(~done):.1f} %",
        f"cache there {waited:.3g} s after the first token",
        f"{np.count_nonzero(log & 3 == TURNED)} changes of roles",
    ]
    told += [f"{what} by instance {_few(row)}" for what, row in zip(("prompts", "handed over"), used, strict=True)]
    if done.any():
        ratio = np.where(done, np.maximum(ttft / requests.ttft_slo_s, tpot / requests.tpot_slo_s), -1.0)
        r = int(ratio.argmax())
        told.append(
            f"worst: request {r}, prompt {requests.prompt_tokens[r]}, first token {ttft[r]:.3g} of "
            f"{requests.ttft_slo_s[r]:.3g} s, per token {tpot[r]:.3g} of {requests.tpot_slo_s[r]:.3g} s"
        )
    return "; ".join(told)[:600]


def _few(counts: np.ndarray) -> str:
    return " ".join(map(str, counts[:16])) + (" ..." if len(counts) > 16 else "")


def narrate(data: Deployment, solution: Disaggregation) -> Sequence[str]:
    """The first decisions, in order."""
    lines = []
    for entry, at_s in zip(solution.log[:_TOLD].tolist(), solution.decided_s[:_TOLD].tolist(), strict=True):
        i, number = (entry >> KIND_BITS) & 255, entry >> NUMBER_SHIFT
        what = {SENT: f"request {number} to", HANDED: f"cache of {number} to"}.get(entry & 3, "")
        lines.append(f"{at_s:.3f} s: {what} {i}" if what else f"{at_s:.3f} s: instance {i} to {_ROLES[number & 3]}")
    return lines
