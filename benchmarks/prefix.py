"""Speed and memory of the prefix store and of the problems on it, in CPU time of one core.

python benchmarks/prefix.py

The first line is the store alone: conversations with 512-token blocks, least recently used, one cache. Then 64
caches that are all asked for the longest prefix of each request, as a router does, rules of serving/prefix_eviction,
and candidates on all of its train split and of that of serving/kv_offloading.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from evaluators.compiler.compile import compile_hooks, simulator
from problems import registry
from problems._borrow import borrow
from problems._jit import kernel
from problems.problem import Problem
from problems.serving._eviction.data import Caching
from problems.serving._eviction.suites import SCENARIOS, Traffic, draw_instance
from problems.serving._prefix import store as prefix
from problems.serving._prefix.state import BLOCK

REPEATS = 5
EVICTION = registry.load("serving/prefix_eviction")
OFFLOADING = registry.load("serving/kv_offloading")


@kernel
def replay(opened: prefix.Store, data: Caching) -> int:
    """Serve each request on the server that holds most of it (ties: in turn); the number of blocks hit."""
    store, servers, hits = borrow(opened), len(opened.cache), 0
    for r in range(len(data.arrival_s)):
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        best, tail = r % servers, prefix.match(store, r % servers, path)
        for i in range(servers):
            other = prefix.match(store, i, path)
            if prefix.length(store, other) > prefix.length(store, tail):
                best, tail = i, other
        hits += prefix.length(store, tail)
        prefix.hold(store, best, tail, data.arrival_s[r])
        tail = prefix.extend(store, best, tail, path, data.arrival_s[r])
        prefix.release(store, best, tail, data.arrival_s[r])
    return hits + 0 * len(opened.heap)


def main() -> None:
    data = draw_instance(SCENARIOS["chat-7b"], 2000, Traffic(size=20_000), 1)
    blocks = len(data.path) / len(data.arrival_s)
    for servers, capacity in ((1, 2000), (1, 20_000), (64, 2500)):
        seconds = fastest(lambda s=servers, c=capacity: replay(prefix.open_store([c] * s), data))
        print(
            f"requests/s: {len(data.arrival_s) / seconds:,.0f} ({servers} caches of {capacity} blocks, "
            f"{blocks:.0f} blocks per request)"
        )
    print(f"memory per block of capacity: {BLOCK.itemsize} bytes, 4 of heap and 8 to 16 of table")
    for name, scenario in SCENARIOS.items():
        data = draw_instance(scenario, scenario.blocks[0], Traffic(size=5000), 1)
        rates = {rule: 5000 / fastest(solver(EVICTION, rule, data)) for rule in ("lru", "kvflow")}
        print(f"  {name}: " + ", ".join(f"{rule} {rate:,.0f} requests/s" for rule, rate in rates.items()))
    on_train(EVICTION, "kvflow")
    start = time.process_time()
    fastest(solver(OFFLOADING, "recompute", OFFLOADING.probes()[0].data))
    print(f"kv_offloading, first call, from cache or compiled: {time.process_time() - start:.1f} s of CPU time")
    for rule in ("recompute", "hicache", "kvflow", "saga_prefetch"):
        on_train(OFFLOADING, rule)


def on_train(problem: Problem, rule: str) -> None:
    """One candidate on all of train."""
    train = [instance.data for instance in problem.splits["train"]()]
    requests = sum(map(problem.decisions, train))
    seconds = sum(fastest(solver(problem, rule, data)) for data in train)
    print(
        f"one candidate on train of {problem.name}, {rule}, {len(train)} instances: {1e3 * seconds:.0f} ms, "
        f"{requests / seconds:,.0f} requests/s"
    )


def solver(problem: Problem, rule: str, data: Any) -> Any:
    """Serve an instance with a rule."""
    baseline = problem.baseline(rule)
    assert baseline is not None
    program = compile_hooks(baseline.source, problem)
    entry = simulator(problem, problem.default_decoder, data)
    return lambda: entry(data, *program.hooks, program.theta)


def fastest(run: Any) -> float:
    """CPU seconds of the fastest of several runs, after one to compile."""
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.thread_time()
        run()
        seconds.append(time.thread_time() - start)
    return float(np.min(seconds))


if __name__ == "__main__":
    main()
