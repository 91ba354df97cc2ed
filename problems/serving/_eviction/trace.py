"""What went on in a prefix cache, in words: hits and misses by kind, evictions that were regretted, the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.serving._eviction.data import BLOCK_TOKENS, KINDS, Caching
from problems.serving._eviction.replay import replay, unlimited


def explain(data: Caching, solution: Any) -> str:
    """Tokens computed anew by kind, how soon evicted blocks were missed, and the longest wait."""
    hits = replay(data, np.ascontiguousarray(solution.evicted)).hits
    most = replay(unlimited(data), np.zeros(0, np.int64)).hits
    lost = (most - hits) * int(data.limit[BLOCK_TOKENS])
    by_kind = [
        f"{name} {100 * lost[data.kind == k].sum() / data.prompt_tokens[data.kind == k].sum():.0f} %"
        for k, name in enumerate(KINDS)
        if (data.kind == k).any()
    ]
    missed_s = _missed_after_s(data, solution)
    known = missed_s[np.isfinite(missed_s)]
    soon = f", half of them within {np.median(known):.3g} s" if known.size else ""
    ttft_s = solution.finish_s - data.arrival_s
    worst = int(np.argmax(ttft_s))
    return (
        f"computed though seen before, as share of prompt tokens by kind: {', '.join(by_kind)}. "
        f"{len(missed_s)} evictions, {len(known)} of blocks that came again{soon}. Of the mean wait of "
        f"{ttft_s.mean():.3g} s for the first token {(solution.start_s - data.arrival_s).mean():.3g} s is the queue. "
        f"Longest: {ttft_s[worst]:.3g} s, a {KINDS[data.kind[worst]]}'s prompt of {data.prompt_tokens[worst]} tokens "
        f"of which {hits[worst] * int(data.limit[BLOCK_TOKENS])} were cached, arrived {data.arrival_s[worst]:.0f} s."
    )


def narrate(data: Caching, solution: Any) -> Sequence[str]:
    """Each request that evicted something, with its blocks."""
    hits = replay(data, np.ascontiguousarray(solution.evicted)).hits
    lines = []
    for r in range(len(data.arrival_s)):
        nodes = (solution.evicted[solution.evicted >> 32 == r] & 0xFFFFFFFF).tolist()
        blocks = data.path_start[r + 1] - data.path_start[r]
        gone = f", evicts {' '.join(map(str, nodes))}" if nodes else ""
        kind = KINDS[data.kind[r]]
        lines.append(f"{solution.start_s[r]:.1f} s: request {r} ({kind}), {hits[r]} of {blocks} blocks cached{gone}")
    return lines


def _missed_after_s(data: Caching, solution: Any) -> np.ndarray:
    """Seconds from each eviction until a request wanted the block, inf if none did."""
    owner = np.repeat(np.arange(len(data.arrival_s)), np.diff(data.path_start))
    by_node = np.lexsort((owner, data.path))
    key = (data.path[by_node] << 32) + owner[by_node]
    request, node = solution.evicted >> 32, solution.evicted & 0xFFFFFFFF
    after = np.searchsorted(key, (node << 32) + request, side="right")
    later = np.append(key, np.iinfo(np.int64).max)[after]
    found = np.full(len(node), np.inf)
    again = later >> 32 == node
    found[again] = solution.start_s[(later & 0xFFFFFFFF)[again]] - solution.start_s[request[again]]
    return found
