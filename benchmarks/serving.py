"""Speed and memory of the serving engine, in CPU time of one core.

python benchmarks/serving.py

The first line is the one we quote: Sarathi-Serve's rule (512 tokens a step) on one replica, Llama-3.1-8B
on an A100-80, 6.45 requests per second with the length statistics of the Azure conversation trace, as in the
anchor runs of Vidur. Then other rules and loads, memory per request, and one candidate on 8 scenarios x 5 seeds
x 20,000 requests. Then clusters: 64 such servers behind a router, with and without prefix caches. The last lines are of
separate prefill and decode (eight instances, one candidate on the train split), of fleets that grow and shrink,
and of servers that migrate requests.
The ratio to Vidur: benchmarks/against_vidur.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.compiler.compile import CompiledProgram, compile_hooks, simulator
from problems import registry
from problems.problem import Problem
from problems.serving._batching.suites import OTHER_GPUS, OTHER_MODELS, SCENARIOS, Scenario, Traffic, draw
from problems.serving._cluster.data import on_hosts
from problems.serving._disaggregation.suites import SCENARIOS as DEPLOYMENTS
from problems.serving._disaggregation.suites import Traffic as DeploymentTraffic
from problems.serving._disaggregation.suites import make as make_deployment
from problems.serving._server.log import STEP
from problems.serving._server.machine import Host, Serving, on_host
from problems.serving._server.state import REQUEST
from problems.serving._workloads.workloads import make_workload

REPEATS = 5
PROBLEM = registry.load("serving/continuous_batching")
ROUTING = registry.load("serving/request_routing")
DISAGGREGATED = registry.load("serving/prefill_decode")
MIGRATING = registry.load("serving/live_migration")
SCALING = registry.load("serving/fleet_scaling")
ANCHOR = Scenario(Host("A100-80", "Llama-3.1-8B"), 1.0, 6.45)


def main() -> None:
    start = time.process_time()
    run(ANCHOR, "sarathi", 1, 100)
    compile_s = time.process_time() - start
    speed, steps = rate(ANCHOR, "sarathi", 5_000)
    print(f"requests/s: {speed:,.0f}")
    print(f"iterations/s: {steps:,.0f}; first call, from cache or compiled: {compile_s:.1f} s of CPU time")
    for rule in ("vllm_v0", "vllm_v1", "past_future", "sjf", "jitserve"):
        print(f"  {rule}, same traffic: {rate(ANCHOR, rule, 5_000)[0]:,.0f} requests/s")
    light = ANCHOR._replace(saturation_per_s=3.0)
    print(f"  sarathi, 3 requests/s (small batches): {rate(light, 'sarathi', 5_000)[0]:,.0f} requests/s")
    state, columns = memory(ANCHOR)
    print(f"memory per request: {state} bytes of state, {columns} of instance columns")
    seconds = candidate()
    print(f"one candidate, 8 scenarios x 5 seeds x 20,000 requests at 90 % load: {seconds:.2f} s")
    clusters()
    deployments()
    fleets()
    migrations()


def migrations() -> None:
    """Requests per second of servers that migrate, by scenario, and the CPU time of one candidate on all of train."""
    instances, total = MIGRATING.splits["train"](), 0.0
    for group in dict.fromkeys(instance.group for instance in instances):
        chosen = [instance.data for instance in instances if instance.group == group]
        seconds = seconds_of(MIGRATING, "llumnix", chosen)
        total += seconds
        requests = sum(len(data.cluster.requests.arrival_s) for data in chosen)
        print(f"live migration, llumnix, {group}: {requests / seconds:,.0f} requests/s")
    print(f"one candidate on train of serving/live_migration, {len(instances)} instances: {total:.2f} s")


def fleets() -> None:
    """Requests per second of fleets, by scenario, and the CPU time of one candidate on all of train."""
    instances, total = SCALING.splits["train"](), 0.0
    for group in dict.fromkeys(instance.group for instance in instances):
        chosen = [instance.data for instance in instances if instance.group == group]
        seconds = seconds_of(SCALING, "rate_trend", chosen)
        total += seconds
        requests = sum(len(data.cluster.requests.arrival_s) for data in chosen)
        print(f"fleet, rate_trend, {group}: {requests / seconds:,.0f} requests/s")
    print(f"one candidate on train of serving/fleet_scaling, {len(instances)} instances: {total:.2f} s")


def deployments(size: int = 20_000) -> None:
    """Requests per second of eight instances that prefill or decode, and seconds of a candidate on train."""
    large = make_deployment(DEPLOYMENTS["a100-summaries"], 0.8, DeploymentTraffic(size=size), 1)
    for rule in ("distserve", "pd_serve", "colocated"):
        print(f"8 instances, {rule}: {size / seconds_of(DISAGGREGATED, rule, [large]):,.0f} requests/s")
    train = [i.data for i in DISAGGREGATED.splits["train"]()]
    print(f"one candidate on train of serving/prefill_decode: {seconds_of(DISAGGREGATED, 'distserve', train):.2f} s")


def seconds_of(problem: Problem, rule: str, instances: Sequence[Any]) -> float:
    """CPU seconds of a rule on instances, the best of a few repeats of each."""
    baseline, total = problem.baseline(rule), 0.0
    assert baseline is not None
    compiled = compile_hooks(baseline.source, problem)
    for data in instances:
        simulate, shortest = simulator(problem, problem.default_decoder, data), np.inf
        for _ in range(REPEATS):
            start = time.thread_time()
            simulate(data, *compiled.hooks, compiled.theta)
            shortest = min(shortest, time.thread_time() - start)
        total += float(shortest)
    return total


def clusters(size: int = 20_000) -> None:
    """Requests per second of 64 servers behind a router, with prefix caches of 64-token blocks and without."""
    requests = make_workload("tenants", size, 1, rate_per_s=0.8 * 6.45 * 64)
    hosts = [(Host("A100-80", "Llama-3.1-8B", max_output=2048), 64)]
    horizon_s = float(requests.arrival_s[-1]) + 3600.0
    for cache_tokens in (64, 0):
        data = on_hosts(requests, hosts, horizon_s, cache_tokens=cache_tokens)
        for rule in ("least_ttft", "prefix_hash", "round_robin"):
            shortest = seconds_of(ROUTING, rule, [data])
            caches = (
                f"prefix caches, {len(data.path) / size:.0f} blocks a request" if cache_tokens else "no prefix caches"
            )
            print(f"64 servers, {rule}, {caches}: {size / shortest:,.0f} requests/s")
    columns = sum(array.itemsize for array in requests)
    print(f"memory per request of a cluster: {REQUEST.itemsize + 8} bytes of state, {columns} of columns, 8 per block")


def program(rule: str) -> CompiledProgram:
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    return compile_hooks(baseline.source, PROBLEM)


def instance(scenario: Scenario, seed: int, size: int, load: float = 1.0) -> Serving:
    requests = draw(scenario, load, Traffic(size=size, gap_cv=1.1), np.random.default_rng(seed))
    return on_host(requests, scenario.host, float(requests.arrival_s[-1]) + 3600.0)


def run(scenario: Scenario, rule: str, seed: int, size: int) -> Any:
    data = instance(scenario, seed, size)
    compiled = program(rule)
    return simulator(PROBLEM, PROBLEM.default_decoder, data)(data, *compiled.hooks, compiled.theta)


def rate(scenario: Scenario, rule: str, size: int) -> tuple[float, float]:
    """Requests and iterations per second of CPU time, the best of a few repeats."""
    data, compiled = instance(scenario, 1, size), program(rule)
    simulate = simulator(PROBLEM, PROBLEM.default_decoder, data)
    shortest, solution = np.inf, None
    for _ in range(REPEATS):
        start = time.thread_time()
        solution = simulate(data, *compiled.hooks, compiled.theta)
        shortest = min(shortest, time.thread_time() - start)
    steps = solution.log[solution.log & 3 == STEP]
    return size / shortest, ((steps >> 3) & (2**32 - 1)).sum() / shortest


def memory(scenario: Scenario) -> tuple[int, int]:
    """Bytes per request: the engine's own record and heap, and the columns of an instance."""
    requests = instance(scenario, 1, 100).requests
    return REQUEST.itemsize + 4, sum(array.itemsize for array in requests)


def candidate() -> float:
    """CPU seconds of one rule on 40 large simulations; drawing the requests does not count."""
    scenarios = [ANCHOR, *SCENARIOS.values(), *OTHER_GPUS.values(), *OTHER_MODELS.values()]
    compiled, total = program("sarathi"), 0.0
    for scenario in scenarios:
        for seed in range(5):
            data = instance(scenario, seed, 20_000, 0.9)
            simulate = simulator(PROBLEM, PROBLEM.default_decoder, data)
            start = time.thread_time()
            simulate(data, *compiled.hooks, compiled.theta)
            total += time.thread_time() - start
    return total


if __name__ == "__main__":
    main()
