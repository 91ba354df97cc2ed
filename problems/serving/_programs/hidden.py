"""What a rule of programs must not know: outputs to come, tools that still run, calls and programs to come."""

from __future__ import annotations

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._batching.hidden import decided
from problems.serving._programs.data import Agents, edges_of, link
from problems.serving._programs.replay import ProgramReplay, replay
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import HORIZON, MAX_OUTPUT, TIMES
from problems.serving._server.requests import NONE

# What belongs to a call and is not seen before its release; tools are seen when they start.
_UNSEEN = ("prompt_tokens", "output_tokens", "predicted_output", "predicted_calls", "predicted_tokens")


def permute(data: Agents, solution: Timeline, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time.

    Output still to come among the calls that have been released; what is left of the tools that run; lengths and
    predictions of calls that have not been released; what follows after a program's only call under way, so that
    programs end earlier or later; which program comes when, and the gaps between arrivals.
    """
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(data.arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, data.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    seen = replay(data._replace(time_s=cut), np.ascontiguousarray(solution.log))
    columns = {name: np.array(column) for name, column in data.requests._asdict().items()}
    _lengths(data, columns, seen, rng)
    _tools(data, columns, seen, rng)
    edges = edges_of(data.requests)
    _tails(columns, edges, seen, rng)
    arrival_s = _arrivals(data, columns, seen, rng)
    calls = link(data.requests._replace(**columns), edges)
    return Future(data._replace(arrival_s=arrival_s, requests=calls), until)


def _lengths(data: Agents, columns: dict[str, np.ndarray], seen: ProgramReplay, rng: np.random.Generator) -> None:
    """Output still to come of released calls; all of those that are not released."""
    output = columns["output_tokens"]
    running = np.flatnonzero((seen.release_s <= seen.now_s) & (seen.generated < output))
    left = rng.permutation(output[running] - seen.generated[running])
    output[running] = np.minimum(seen.generated[running] + left, data.limit[MAX_OUTPUT])
    unseen = np.flatnonzero(seen.release_s > seen.now_s)
    order = rng.permutation(unseen)
    for name in _UNSEEN:
        columns[name][unseen] = columns[name][order]
    columns["repeated_tokens"] = np.minimum(columns["repeated_tokens"], columns["prompt_tokens"])


def _tools(data: Agents, columns: dict[str, np.ndarray], seen: ProgramReplay, rng: np.random.Generator) -> None:
    """What is left of tools that run, and all of those that have not started. First ones run before the arrival."""
    tool_s, calls = columns["tool_s"], data.requests
    under_way = np.flatnonzero((seen.release_s > seen.now_s) & np.isfinite(seen.release_s) & (calls.waits_for > 0))
    since = seen.now_s - (seen.release_s[under_way] - tool_s[under_way])
    left = rng.permutation(seen.release_s[under_way] - seen.now_s)
    tool_s[under_way] = since + left
    later = np.flatnonzero(np.isinf(seen.release_s))
    tool_s[later] = tool_s[rng.permutation(later)]


def _tails(columns: dict[str, np.ndarray], edges: np.ndarray, seen: ProgramReplay, rng: np.random.Generator) -> None:
    """Exchange what follows between programs of which one call is under way and all others wait for it.

    The context of that call has no heir that was seen; an empty rest takes part, so programs end elsewhere.
    """
    program, continues = columns["program"], columns["continues"]
    started, rests = seen.release_s <= seen.now_s, {}
    for p in np.unique(program[started]):
        mine = program == p
        open_calls = np.flatnonzero(mine & started & ~np.isfinite(seen.finish_s))
        rest = np.flatnonzero(mine & ~started)
        into = (program[edges[:, 1]] == p) & ~started[edges[:, 1]] & started[edges[:, 0]]
        if len(open_calls) == 1 and (edges[into, 0] == open_calls[0]).all():
            rests[int(open_calls[0])] = (rest, np.flatnonzero(into))
    heads = np.array(sorted(rests), dtype=np.int64)
    for old, new in zip(heads, rng.permutation(heads), strict=True):
        rest, entries = rests[int(old)]
        edges[entries, 0] = new
        program[rest] = program[new]
        continues[rest[continues[rest] == old]] = new if old == new else NONE - 1 - new
    moved = continues < NONE
    continues[moved] = NONE - 1 - continues[moved]


def _arrivals(
    data: Agents, columns: dict[str, np.ndarray], seen: ProgramReplay, rng: np.random.Generator
) -> np.ndarray:
    """Which program comes when, of those that have not."""
    arrived = int(np.searchsorted(data.arrival_s, seen.now_s, side="right"))
    order = np.arange(len(data.arrival_s))
    order[arrived:] = rng.permutation(order[arrived:])
    columns["program"] = order[columns["program"]]
    arrival_s = data.arrival_s.copy()
    gaps = rng.permutation(np.diff(arrival_s[arrived:], prepend=seen.now_s))
    arrival_s[arrived:] = np.minimum(seen.now_s + np.cumsum(gaps), data.arrival_s[-1])
    arrival_s.setflags(write=False)
    return arrival_s


HIDDEN = Hidden(
    "output lengths, durations of tools, numbers of remaining calls and all arrivals that have not shown yet",
    permute,
    decided,
)
