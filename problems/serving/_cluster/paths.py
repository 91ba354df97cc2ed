"""Which blocks of KV cache requests share: a path of numbered blocks for the prompt and output of each.

A block is so many tokens together with all that comes before them. Requests with the same system prompt share its
full blocks; a request that continues a conversation shares with the one before what it repeats of it, output
included. All other blocks are its own.
"""

from __future__ import annotations

import numpy as np

from problems.serving._server.requests import NONE, Requests


def block_paths(requests: Requests, block_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(n + 1,) int64 starts and int64 blocks: request r has ``blocks[starts[r]:starts[r + 1]]``.

    All full blocks of its prompt and output, but for the last token, which is never put into the cache; no block
    at all where block_tokens is 0.
    """
    n = len(requests.arrival_s)
    if block_tokens == 0:
        return np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    cached = requests.prompt_tokens + requests.output_tokens - 1
    starts = np.concatenate([[0], np.cumsum(cached // block_tokens)])
    blocks = np.empty(starts[-1], dtype=np.int64)
    prefixes: dict[int, list[int]] = {}
    threads: dict[tuple[int, int, int], np.ndarray] = {}
    new = 0
    columns = (requests.prefix, requests.prefix_tokens, requests.session, requests.session_tokens)
    for r, (prefix, prefix_tokens, session, session_tokens) in enumerate(
        zip(*map(np.ndarray.tolist, columns), strict=True)
    ):
        path = blocks[starts[r] : starts[r + 1]]
        shared = prefixes.setdefault(prefix, []) if prefix != NONE else []
        own = prefix_tokens // block_tokens if prefix != NONE else 0
        if len(shared) < own:
            shared.extend(range(new, new + own - len(shared)))
            new = shared[-1] + 1
        done = min(own, len(path))
        path[:done] = shared[:done]
        thread = (session, prefix, prefix_tokens)
        if session != NONE and (before := threads.get(thread)) is not None:
            upto = min(session_tokens // block_tokens, len(before), len(path))
            if upto > done:
                path[done:upto] = before[done:upto]
                done = upto
        path[done:] = np.arange(new, new + len(path) - done)
        new += len(path) - done
        if session != NONE:
            threads[thread] = path
    return starts, blocks
