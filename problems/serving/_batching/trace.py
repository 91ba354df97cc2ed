"""What went on at an LLM server, in words: memory, queue, preemptions, first tokens against decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.serving._server.log import ADMIT, EVICT, KIND_BITS, PREFILL_SHIFT, REPEAT_BITS, REPEAT_SHIFT, STEP, WAIT
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, HORIZON, Serving
from problems.serving._server.peaks import peak

_NAMES = {ADMIT: "admits", EVICT: "preempts"}


def explain(data: Serving, solution: Any) -> str:
    """Waiting for the first token against decoding, the queue's peak, preemptions, and how full memory was."""
    requests, log = data.requests, solution.log
    finished = np.isfinite(solution.finish_s)
    end_s = max(float(data.time_s[HORIZON]), float(solution.finish_s[finished].max(initial=0.0)))
    first_s = np.where(np.isfinite(solution.first_token_s), solution.first_token_s, end_s)
    ttft_s = first_s - requests.arrival_s
    decode_s = np.where(finished, solution.finish_s, end_s) - first_s
    broken = ttft_s > requests.ttft_slo_s
    slow = decode_s > requests.tpot_slo_s * np.maximum(requests.output_tokens - 1, 1)
    evicted = log[log & 3 == EVICT] >> KIND_BITS
    waiting, full_s = peak(requests.arrival_s, first_s, np.ones(len(first_s)))
    held, at_s = _memory(data, first_s, np.where(finished, solution.finish_s, end_s))
    worst = int(np.argmax(ttft_s))
    longest = f"{ttft_s[worst]:.3g} s, prompt {requests.prompt_tokens[worst]}, priority {requests.priority[worst]}"
    return (
        f"of the mean latency {ttft_s.mean():.3g} s is waiting for the first token, {decode_s.mean():.3g} s decoding; "
        f"promises broken for the first token by {100 * broken.mean():.0f} % of requests, for the pace by "
        f"{100 * slow.mean():.0f} %. Queue peak {waiting:.0f} at {full_s:.0f} s; requests between "
        f"first and last token need up to {100 * held:.0f} % of the KV cache (at {at_s:.0f} s). "
        f"{len(evicted)} preemptions of {len(np.unique(evicted))} requests, {int((~finished).sum())} unfinished. "
        f"Longest wait for a first token: {longest}, arrived {requests.arrival_s[worst]:.0f} s."
    )


def _memory(data: Serving, first_s: np.ndarray, finish_s: np.ndarray) -> tuple[float, float]:
    """Largest share of blocks that requests between first token and end need, with all their output, and when."""
    requests = data.requests
    blocks = -(-(requests.prompt_tokens + requests.output_tokens) // int(data.limit[BLOCK_TOKENS]))
    held, at_s = peak(first_s, finish_s, blocks)
    return held / float(data.limit[BLOCKS]), at_s


def narrate(data: Serving, solution: Any) -> Sequence[str]:
    """The entries of the log, equal steps in a row as one."""
    return [_entry(data, int(entry)) for entry in solution.log]


def _entry(data: Serving, entry: int) -> str:
    kind = entry & 3
    if kind == WAIT:
        return "waits"
    if kind != STEP:
        r = entry >> KIND_BITS
        requests = data.requests
        return (
            f"{_NAMES[kind]} request {r + 1} (prompt {requests.prompt_tokens[r]}, predicted output "
            f"{requests.predicted_output[r]:.0f}, arrived {requests.arrival_s[r]:.1f} s)"
        )
    decodes = (entry >> KIND_BITS) & 1
    repeats = (entry >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
    prefill = entry >> PREFILL_SHIFT
    done = ([f"computes {prefill} prompt tokens"] if prefill else []) + (["decodes"] if decodes else [])
    return " and ".join(done) + (f" for {repeats} steps" if repeats > 1 else "")
