"""What went on behind a router, in words: cache hits, balance of work, the fullest queue, broken promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.serving._cluster.data import Cluster
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.log import SERVER_BITS
from problems.serving._routing.metrics import repeated_tokens
from problems.serving._server.machine import HORIZON
from problems.serving._server.peaks import peak


def explain(data: Cluster, solution: Routing) -> str:
    """Prompt tokens computed against those that were new, work by server, the fullest queue, the longest wait."""
    requests, server = data.requests, _server(solution)
    prompt = requests.prompt_tokens
    first_s = np.where(np.isfinite(solution.first_token_s), solution.first_token_s, data.time_s[HORIZON])
    ttft_s = first_s - requests.arrival_s
    servers = len(data.kind)
    work_s = np.bincount(server, solution.computed_tokens * data.token_s[data.kind[server], 0], servers)
    share = 100 * work_s / max(work_s.sum(), 1e-300)
    queues = [peak(solution.sent_s[m], first_s[m], np.ones(m.sum())) for m in (server == i for i in range(servers))]
    full = max(range(servers), key=lambda i: queues[i][0])
    worst = int(np.argmax(ttft_s))
    return (
        f"{100 * solution.computed_tokens.sum() / prompt.sum():.0f} % of prompt tokens computed, "
        f"{100 * (1 - repeated_tokens(data).sum() / prompt.sum()):.0f} % were new. Of all prefill work server "
        f"{int(share.argmax()) + 1} of {servers} has {share.max():.0f} %, server {int(share.argmin()) + 1} "
        f"{share.min():.0f} %. Fullest queue: {queues[full][0]:.0f} requests without a first token at server "
        f"{full + 1}, {queues[full][1]:.0f} s. Promise for the first token broken for "
        f"{100 * (ttft_s > requests.ttft_slo_s).mean():.0f} % of requests. Longest wait: {ttft_s[worst]:.3g} s at "
        f"server {server[worst] + 1}, prompt {prompt[worst]}, {solution.computed_tokens[worst]} of it computed, "
        f"arrived {requests.arrival_s[worst]:.0f} s."
    )


def narrate(data: Cluster, solution: Routing) -> Sequence[str]:
    """Each request with the server it was sent to, in the order of arrival."""
    requests, servers = data.requests, len(data.kind)
    rows = zip(requests.prompt_tokens, requests.arrival_s, _server(solution), solution.computed_tokens, strict=True)
    return [
        f"sends request {r + 1} (prompt {prompt}, arrived {arrival_s:.2f} s) to server {i + 1} of {servers}, "
        f"which computes {computed} of it"
        for r, (prompt, arrival_s, i, computed) in enumerate(rows)
    ]


def _server(solution: Routing) -> np.ndarray:
    """(n,) int64, where each request was sent."""
    server: np.ndarray = solution.log & ((1 << SERVER_BITS) - 1)
    return server
