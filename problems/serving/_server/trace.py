"""What went on at an LLM server, in words: memory, queue, preemptions, first tokens against decoding, clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.serving._server.log import (
    ADMIT,
    CODE_MASK,
    CUT,
    EVICT,
    KIND_BITS,
    PREFILL_SHIFT,
    RANK,
    REPEAT_BITS,
    REPEAT_SHIFT,
    RESUME,
    STEP,
    SWAP,
    WAIT,
    subject,
)
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, HORIZON, Serving
from problems.serving._server.peaks import peak
from problems.serving._server.requests import NONE

_NAMES = {ADMIT: "admits", EVICT: "preempts"}
_CODES = {SWAP: "swaps out", RANK: "puts behind the other prompts"}


def explain(data: Serving, solution: Any) -> str:
    """Waiting for the first token against decoding, promises or clients, the queue's peak, preemptions, memory."""
    requests, log = data.requests, solution.log
    finished = np.isfinite(solution.finish_s)
    end_s = max(float(data.time_s[HORIZON]), float(solution.finish_s[finished].max(initial=0.0)))
    first_s = np.where(np.isfinite(solution.first_token_s), solution.first_token_s, end_s)
    ttft_s = first_s - requests.arrival_s
    decode_s = np.where(finished, solution.finish_s, end_s) - first_s
    evicted = log[log & 3 == EVICT] >> KIND_BITS
    waiting, full_s = peak(requests.arrival_s, first_s, np.ones(len(first_s)))
    held, at_s = _memory(data, first_s, np.where(finished, solution.finish_s, end_s))
    worst = int(np.argmax(ttft_s))
    longest = f"{ttft_s[worst]:.3g} s, prompt {requests.prompt_tokens[worst]}, priority {requests.priority[worst]}"
    return (
        f"of the mean latency {ttft_s.mean():.3g} s is waiting for the first token, {decode_s.mean():.3g} s decoding; "
        f"{_promises(data, ttft_s, decode_s)}. Queue peak {waiting:.0f} at {full_s:.0f} s; requests between "
        f"first and last token need up to {100 * held:.0f} % of the KV cache (at {at_s:.0f} s). "
        f"{len(evicted)} preemptions of {len(np.unique(evicted))} requests{_cut_and_swapped(log)}, "
        f"{int((~finished).sum())} unfinished. "
        f"Longest wait for a first token: {longest}, arrived {requests.arrival_s[worst]:.0f} s."
    )


def _promises(data: Serving, ttft_s: np.ndarray, decode_s: np.ndarray) -> str:
    """Who was let down: clients where there are any, else promises."""
    requests = data.requests
    clients = np.unique(requests.tenant[requests.tenant != NONE])
    if len(clients) > 1:
        wait_s = [float(ttft_s[requests.tenant == c].mean()) for c in clients]
        last, first = int(np.argmax(wait_s)), int(np.argmin(wait_s))
        return (
            f"client {clients[last] + 1} waits longest, {wait_s[last]:.3g} s on average, client {clients[first] + 1} "
            f"least, {wait_s[first]:.3g} s"
        )
    broken = ttft_s > requests.ttft_slo_s
    slow = decode_s > requests.tpot_slo_s * np.maximum(requests.output_tokens - 1, 1)
    return (
        f"promises broken for the first token by {100 * broken.mean():.0f} % of requests, for the pace by "
        f"{100 * slow.mean():.0f} %"
    )


def _cut_and_swapped(log: np.ndarray) -> str:
    """How many of what only some servers do."""
    codes = np.where(log & 3 == WAIT, (log >> KIND_BITS) & CODE_MASK, 0)
    counts = ((int((codes == code).sum()), words) for code, words in ((SWAP, "swapped out"), (CUT, "steps cut")))
    return "".join(f", {count} {words}" for count, words in counts if count)


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
    kind, code = entry & 3, (entry >> KIND_BITS) & CODE_MASK
    if kind == WAIT and code in (CUT, RESUME):
        return f"cuts the step after segment {subject(entry)}" if code == CUT else "goes on with the step that was cut"
    if kind == WAIT and code == 0:
        return "waits"
    if kind != STEP:
        r = subject(entry)
        requests = data.requests
        return (
            f"{_NAMES[kind] if kind != WAIT else _CODES[code]} request {r + 1} (prompt {requests.prompt_tokens[r]}, "
            f"predicted output {requests.predicted_output[r]:.0f}, arrived {requests.arrival_s[r]:.1f} s)"
        )
    decodes = (entry >> KIND_BITS) & 1
    repeats = (entry >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
    prefill = entry >> PREFILL_SHIFT
    done = ([f"computes {prefill} prompt tokens"] if prefill else []) + (["decodes"] if decodes else [])
    return " and ".join(done) + (f" for {repeats} steps" if repeats > 1 else "")
