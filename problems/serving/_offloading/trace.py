"""What went on between tiers of KV cache, in words: what was computed, loaded and fetched ahead, and the waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.serving._eviction.data import BLOCK_TOKENS, KINDS
from problems.serving._offloading.data import Offloading
from problems.serving._offloading.metrics import lower_bounds, measure
from problems.serving._offloading.verify import followed

_TIERS = ("GPU", "host", "pool")


def explain(data: Offloading, solution: Any) -> str:
    """What was computed though seen before, what came over links, evictions by tier, and the longest wait."""
    found, caching = measure(data, solution), data.caching
    gone = np.bincount(solution.evicted >> 32 & 3, minlength=len(_TIERS))
    by_tier = ", ".join(f"{count} {name}" for name, count in zip(_TIERS, gone, strict=True))
    ttft_s = solution.finish_s - caching.arrival_s
    worst = int(np.argmax(ttft_s))
    return (
        f"{found['uncached'] - lower_bounds(data)['uncached']:.1f} % of prompt tokens computed though seen before, "
        f"{found['loaded']:.1f} % loaded, {found['fetched']:.1f} % fetched ahead in {solution.fetched.size} pieces. "
        f"Evictions: {by_tier}. Of the mean wait of {ttft_s.mean():.3g} s for the first token "
        f"{(solution.start_s - caching.arrival_s).mean():.3g} s is the queue, {found['load_wait']:.3g} s loading. "
        f"Longest: {ttft_s[worst]:.3g} s, a {KINDS[caching.kind[worst]]}'s prompt of {caching.prompt_tokens[worst]} "
        f"tokens, arrived {caching.arrival_s[worst]:.0f} s."
    )


def narrate(data: Offloading, solution: Any) -> Sequence[str]:
    """Each prompt with what it had, and each piece that was fetched ahead, in order of time."""
    cached, size = followed(data, solution).cached, int(data.caching.limit[BLOCK_TOKENS])
    told = []
    for r, start_s in enumerate(solution.start_s):
        loads = [_TIERS[entry & 3] for entry in solution.loaded[solution.loaded >> 2 == r]]
        from_where = f", partly from {' and '.join(loads)}" if loads else ""
        tokens, kind = data.caching.prompt_tokens[r], KINDS[data.caching.kind[r]]
        told.append((start_s, f"request {r} ({kind}) has {cached[r] * size} of {tokens} tokens{from_where}"))
    for entry, at_s in zip(solution.fetched.tolist(), solution.fetched_s.tolist(), strict=True):
        told.append((at_s, f"fetches up to node {entry & 0xFFFFFFFF} from {_TIERS[entry >> 32 & 3]}"))
    return [f"{at_s:.1f} s: {text}" for at_s, text in sorted(told, key=lambda entry: entry[0])]
