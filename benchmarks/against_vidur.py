"""The serving engine beside Vidur, Microsoft's simulator of LLM serving: the same requests at the same costs.

    pip install vidur     # in an environment that has evolve; written for version 0.0.26
    python benchmarks/against_vidur.py [--sizes 1000 5000] [--pairs 3] [--share 1.0] [--charged]

The scenario is the first of benchmarks/serving.py: Sarathi-Serve with 512 tokens a step, Llama-3.1-8B on one A100-80.
Vidur's package holds no profiles of kernels, so it asks our step_seconds what a batch takes: the figures are of all
that goes on around that, and both should come to the same times. Blocks, their size, the share of them that stays
free, and the requests of a batch are alike. Our charge for looks at the queue, which Vidur lacks, is zero unless
--charged; --share leaves less KV cache. Vidur writes no metrics, traces or plots.

Printed are requests per second of CPU time of one core, without drawing requests, compiling and building the
simulators. Runs alternate: ours is the mean of ten in a row, ratios are of pairs, medians are printed. Beside them
stands the part of Vidur's time that our costs take. Then latencies, and the largest difference of any request.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import logging
import sys
import tempfile
import time
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from serving import ANCHOR, PROBLEM, instance, program

from evaluators.compiler.compile import simulator
from problems._hardware.step_cost import step_seconds
from problems.serving._server import machine
from problems.serving._server.log import EVICT
from problems.serving._server.machine import Serving, unpack_cost

IN_A_ROW = 10
WATERMARK = 0.01  # of all blocks stay free when a request is admitted, as with our rule


class Result(NamedTuple):
    """A simulation: CPU time, of it what our costs took Vidur, and what became of the requests."""

    cpu_s: float
    costs_s: float
    ttft_s: np.ndarray
    latency_s: np.ndarray
    preemptions: int


class Costs:
    """Our step cost in place of Vidur's predictor."""

    def __init__(self, data: Serving) -> None:
        self.cost, self.cpu_s = unpack_cost(data), 0.0

    def get_execution_time(self, batch: Any, stage: int) -> SimpleNamespace:
        """A batch as our engine charges it. In Vidur's context are two more tokens: the last one and the next."""
        start, pairs, context = time.thread_time(), 0.0, batch.total_num_kv_tokens
        for request, new, total in zip(batch.requests, batch.num_q_tokens, batch.num_kv_tokens, strict=True):
            if not request.is_prefill_complete:
                pairs += new * (total - new + 0.5 * new)
                context -= total
        decoding = batch.num_decode_tokens
        seconds = step_seconds(self.cost, batch.num_prefill_tokens, pairs, decoding, float(context - 2 * decoding))
        self.cpu_s += time.thread_time() - start
        return SimpleNamespace(total_time=seconds, model_time=seconds)


def make(size: int, share: float, charged: bool) -> Serving:
    """The scenario, by default without what our engine charges for looks at the queue."""
    data = instance(ANCHOR._replace(host=ANCHOR.host._replace(share=share)), 1, size)
    time_s = data.time_s.copy()
    if not charged:
        time_s[[machine.DECISION, machine.CANDIDATE]] = 0.0
    return data._replace(time_s=time_s)


def ours(data: Serving) -> Result:
    """Our engine with the rule of Sarathi-Serve."""
    compiled, simulate = program("sarathi"), simulator(PROBLEM, PROBLEM.default_decoder, data)
    gc.collect()
    start = time.thread_time()
    for _ in range(IN_A_ROW):
        found = simulate(data, *compiled.hooks, compiled.theta)
    cpu_s, arrival_s = (time.thread_time() - start) / IN_A_ROW, data.requests.arrival_s
    preemptions = int(np.count_nonzero(found.log & 3 == EVICT))
    return Result(cpu_s, 0.0, found.first_token_s - arrival_s, found.finish_s - arrival_s, preemptions)


def configuration(data: Serving, folder: str) -> Any:
    """One replica like our server, for Vidur; what is not named stays at its default and has no effect here."""
    from vidur import config

    limit = data.limit.tolist()
    cluster = config.ClusterConfig(
        replica_config=config.ReplicaConfig(num_pipeline_stages=1, tensor_parallel_size=1, device="a100"),
        cache_config=config.CacheConfig(limit[machine.BLOCK_TOKENS], limit[machine.BLOCKS], WATERMARK),
        # One replica leaves nothing to choose, but others look for number 0, which only the first simulation has.
        global_scheduler_config=config.LORGlobalSchedulerConfig(),
        replica_scheduler_config=config.SarathiSchedulerConfig(limit[machine.MAX_RUNNING], chunk_size=512),
    )
    return config.SimulationConfig(
        cluster_config=cluster,
        request_generator_config=config.TraceRequestGeneratorConfig(),
        execution_time_predictor_config=config.RandomForrestExecutionTimePredictorConfig(),
        metrics_config=config.MetricsConfig(write_metrics=False, enable_chrome_trace=False, output_dir=folder),
    )


def put(registry: Any, config: Any, thing: Any) -> None:
    """Let a registry of Vidur's give out a thing where a configuration asks for another."""
    registry.unregister(config.get_type())
    registry.register(config.get_type(), lambda *_, **__: thing)


def vidurs(data: Serving) -> Result:
    """Vidur with our requests and our costs."""
    from vidur.entities import Request
    from vidur.execution_time_predictor import ExecutionTimePredictorRegistry
    from vidur.request_generator import RequestGeneratorRegistry
    from vidur.simulator import Simulator

    logging.getLogger("vidur").setLevel(logging.WARNING)
    arrival_s, costs = data.requests.arrival_s, Costs(data)
    columns = (arrival_s, data.requests.prompt_tokens, data.requests.output_tokens)
    requests = [Request(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(data, folder)
        put(ExecutionTimePredictorRegistry, config.execution_time_predictor_config, costs)
        put(RequestGeneratorRegistry, config.request_generator_config, SimpleNamespace(generate=lambda: requests))
        simulation = Simulator(config)
        gc.collect()
        start = time.thread_time()
        simulation.run()
        cpu_s = time.thread_time() - start
    ttft_s = np.array([r.prefill_completed_at for r in requests]) - arrival_s
    latency_s = np.array([r.completed_at for r in requests]) - arrival_s
    return Result(cpu_s, costs.cpu_s, ttft_s, latency_s, sum(r.num_restarts for r in requests))


def speeds(size: int, pairs: list[tuple[Result, Result]]) -> str:
    """A line of the table of speeds."""
    mine, theirs = (median(size / result.cpu_s for result in column) for column in zip(*pairs, strict=True))
    ratios, share = [b.cpu_s / a.cpu_s for a, b in pairs], median(b.costs_s / b.cpu_s for _, b in pairs)
    spread = f"{min(ratios):,.0f} to {max(ratios):,.0f}"
    return f"| {size:,} | {mine:,.0f} | {theirs:,.0f} | {median(ratios):,.0f} ({spread}) | {share:.0%} |"


def latencies(size: int, a: Result, b: Result) -> str:
    """Lines of the table of latencies."""
    lines = []
    for name, x, y in (("time to first token", a.ttft_s, b.ttft_s), ("latency", a.latency_s, b.latency_s)):
        most_s = np.abs(x - y).max()
        for label, p, q in (("mean", x.mean(), y.mean()), ("P99", np.quantile(x, 0.99), np.quantile(y, 0.99))):
            lines.append(f"| {size:,} | {label} {name} | {p:.4f} s | {q:.4f} s | {q / p - 1:+.3%} | {most_s:.2g} s |")
    return "\n".join([*lines, f"| {size:,} | preemptions | {a.preemptions} | {b.preemptions} | | |"])


def head(*columns: str) -> str:
    """First lines of a table."""
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--charged", action="store_true")
    given = parser.parse_args()
    if importlib.util.find_spec("vidur") is None:
        print("Vidur is not installed: pip install vidur, in an environment that has evolve", file=sys.stderr)
        raise SystemExit(2)
    runs = {}
    for size in given.sizes:
        data = make(size, given.share, given.charged)
        ours(data)
        runs[size] = [(ours(data), vidurs(data)) for _ in range(given.pairs)]
    print(head("requests", "ours, requests/s", "Vidur, requests/s", "ratio", "our costs in Vidur's time"))
    print("\n".join(speeds(size, pairs) for size, pairs in runs.items()))
    print("\n" + head("requests", "", "ours", "Vidur", "difference", "largest of a request"))
    print("\n".join(latencies(size, *pairs[0]) for size, pairs in runs.items()))


if __name__ == "__main__":
    main()
