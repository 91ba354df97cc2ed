"""What migrations did, in words: how many, how long they paused, what they saved, who waited longest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.serving._cluster.log import SERVER_BITS
from problems.serving._migration.data import Migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.log import JOINED, LOST, QUEUED, RECOMPUTED, REFUSED, REQUEST_BITS
from problems.serving._server.machine import HORIZON

_WORDS = {
    LOST: "which came too late",
    REFUSED: "which had no room",
    QUEUED: "where it waits",
    JOINED: "where it decodes on",
    RECOMPUTED: "which had no room any more, so it is computed anew",
}


def explain(data: Migrating, solution: Migration) -> str:
    """Migrations by what became of them, pauses, preemptions, who gave and took most, the longest wait and gap."""
    requests, servers = data.cluster.requests, len(data.cluster.kind)
    counts = np.bincount(solution.fate, minlength=5)
    first_s = np.where(np.isfinite(solution.first_token_s), solution.first_token_s, data.cluster.time_s[HORIZON])
    ttft_s = first_s - requests.arrival_s
    worst, longest = int(np.argmax(ttft_s)), int(np.argmax(solution.worst_gap_s))
    pauses_s = solution.pause_s[solution.fate == JOINED]
    pause = f", paused {1e3 * pauses_s.mean():.1f} ms in the mean" if len(pauses_s) else ""
    taken = np.bincount(solution.moves & ((1 << SERVER_BITS) - 1), minlength=servers)
    most = f" Server {int(taken.argmax()) + 1} of {servers} was named most often." if len(solution.moves) else ""
    return (
        f"{len(solution.moves)} migrations: {counts[JOINED]} of decoding requests{pause}, {counts[QUEUED]} of waiting "
        f"ones, {counts[LOST]} came too late, {counts[REFUSED]} were refused for lack of room, {counts[RECOMPUTED]} "
        f"were computed anew.{most} {int(solution.preemptions.sum())} preemptions. Longest wait for a first token: "
        f"{ttft_s[worst]:.3g} s, prompt {requests.prompt_tokens[worst]}, arrived {requests.arrival_s[worst]:.0f} s; "
        f"longest gap between two tokens: {solution.worst_gap_s[longest]:.3g} s, "
        f"{int(solution.preemptions[longest])} preemptions."
    )


def narrate(data: Migrating, solution: Migration) -> Sequence[str]:
    """Requests as they are sent, then migrations, each in the order of time."""
    requests, servers = data.cluster.requests, len(data.cluster.kind)
    sent = [
        f"sends request {r + 1} (prompt {prompt}, arrived {arrival_s:.2f} s) to server {i + 1} of {servers}"
        for r, (prompt, arrival_s, i) in enumerate(
            zip(requests.prompt_tokens, requests.arrival_s, solution.log & ((1 << SERVER_BITS) - 1), strict=True)
        )
    ]
    moved = [
        f"at {at_s:.2f} s moves request {((move >> SERVER_BITS) & ((1 << REQUEST_BITS) - 1)) + 1} to server "
        f"{(move & ((1 << SERVER_BITS) - 1)) + 1}, {_WORDS[int(fate)]}"
        for move, at_s, fate in zip(solution.moves, solution.decided_s, solution.fate, strict=True)
    ]
    return [*sent, *moved]
