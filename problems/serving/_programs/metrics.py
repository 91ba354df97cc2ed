"""Metrics of served programs, each defined once; unfinished programs count at their worst."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import kernel
from problems.serving._programs.data import Agents
from problems.serving._programs.replay import replay
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import BLOCK_TOKENS, HORIZON, MAX_PREFILL, unpack_cost

RAW_UNITS = {
    "mean_jct": "s",
    "worst_jct": "s",
    "slowdown": "1",
    "slo_attainment": "%",
    "throughput": "1/h",
    "unfinished": "%",
    "reused": "%",
    "preemptions": "1/call",
}
WORST = 0.05  # share of programs whose mean is the tail
PROMISE = 2.0  # times what a program takes alone


def completion_s(data: Agents, solution: Timeline) -> tuple[np.ndarray, np.ndarray]:
    """Time from arrival to the end of each program's last call, (p,) float64, and whether there is one, (p,) bool.

    What has not finished is taken to have run to the end of the simulation.
    """
    program, p = data.requests.program, len(data.arrival_s)
    end_s = np.full(p, -np.inf)
    np.maximum.at(end_s, program, solution.finish_s)
    finished = np.isfinite(end_s)
    last_s = max(float(data.time_s[HORIZON]), float(end_s[finished].max(initial=0.0)))
    return np.where(finished, end_s, last_s) - data.arrival_s, finished


def measure(data: Agents, solution: Timeline) -> dict[str, float]:
    """Raw metrics of one instance.

    The completion time (JCT) of a program runs from its arrival to the end of its last call, tools included;
    slowdown is that over what the program takes alone. The promise is a slowdown of 2. Throughput counts
    programs that finish before the last arrival.
    """
    jct_s, finished = completion_s(data, solution)
    alone_s = programs_alone(data)
    slowdown = jct_s / alone_s
    found = replay(data, np.ascontiguousarray(solution.log))
    worst = max(1, int(np.ceil(WORST * len(jct_s))))
    last_s = max(float(data.arrival_s[-1]), 1e-9)
    return {
        "mean_jct": float(np.mean(jct_s)),
        "worst_jct": float(np.mean(np.sort(jct_s)[-worst:])),
        "slowdown": float(np.mean(slowdown)),
        "slo_attainment": float(100.0 * np.mean(finished & (slowdown <= PROMISE))),
        "throughput": float(3600.0 * np.count_nonzero(finished & (data.arrival_s + jct_s <= last_s)) / last_s),
        "unfinished": float(100.0 * np.mean(~finished)),
        "reused": float(100.0 * found.reused.sum() / max(data.requests.repeated_tokens.sum(), 1)),
        "preemptions": float(found.preemptions.mean()),
    }


@kernel
def calls_alone(data: Agents) -> np.ndarray:
    """(n,) float64, seconds of each call if it had the server for itself, and all context that it can go on from.

    No schedule is faster: a step takes no less with more in it, and a prompt no less in several steps.
    """
    cost, calls, n = unpack_cost(data), data.requests, len(data.requests.program)
    seconds = np.zeros(n)
    for c in range(n):
        prompt, done, before = calls.prompt_tokens[c], 0, calls.continues[c]
        if before >= 0:
            kept = calls.prompt_tokens[before] + calls.output_tokens[before] - 1
            done = min(calls.repeated_tokens[c], prompt - 1, kept)
            done -= done % data.limit[BLOCK_TOKENS]
        while done < prompt:
            chunk = min(prompt - done, data.limit[MAX_PREFILL])
            seconds[c] += step_seconds(cost, chunk, chunk * (done + 0.5 * chunk), 0, 0.0)
            done += chunk
        for k in range(calls.output_tokens[c] - 1):
            seconds[c] += step_seconds(cost, 0, 0.0, 1, float(prompt + k))
    return seconds


@kernel
def _longest(data: Agents, seconds: np.ndarray) -> np.ndarray:
    """(p,) float64, the longest chain of tools and calls of each program; calls stand after those they wait for."""
    calls, n = data.requests, len(data.requests.program)
    ready, total = np.zeros(n), np.zeros(len(data.arrival_s))
    left, order, known = calls.waits_for.copy(), np.empty(n, np.int64), 0
    for c in range(n):
        if left[c] == 0:
            order[known] = c
            known += 1
    done = 0
    while done < known:
        c = order[done]
        done += 1
        end = ready[c] + calls.tool_s[c] + seconds[c]
        total[calls.program[c]] = max(total[calls.program[c]], end)
        for k in range(calls.next_start[c], calls.next_start[c + 1]):
            after = calls.next_call[k]
            ready[after] = max(ready[after], end)
            left[after] -= 1
            if left[after] == 0:
                order[known] = after
                known += 1
    return total


def programs_alone(data: Agents) -> np.ndarray:
    """(p,) float64, seconds of each program if it had a server for each of its calls: no schedule is faster."""
    return _longest(data, calls_alone(data))


def lower_bounds(data: Agents) -> dict[str, float]:
    """What each metric would be if every program ran alone."""
    alone_s = programs_alone(data)
    worst = max(1, int(np.ceil(WORST * len(alone_s))))
    return {
        "mean_jct": float(np.mean(alone_s)),
        "worst_jct": float(np.mean(np.sort(alone_s)[-worst:])),
        "slowdown": 1.0,
        "slo_attainment": 100.0,
    }
