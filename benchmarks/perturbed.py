"""Whether the ranking of rules survives other physics: efficiencies, overheads, memory.

Usage: ``python benchmarks/perturbed.py [serving/continuous_batching serving/request_routing]
[--rule FILE ...] [--baselines 3]``.

The cost model is fitted to measurements, and off by some per cent. A rule that owes its rank to one
fitted figure is worth little, so the valid split is served again on hardware with 15 % less and more of
the bandwidth and of the FLOP/s that kernels reach (eB, eF), with half and three times of the engine's
overhead, and with 15 % less and more KV cache; requests and their arrivals stay the same. Compared are
the best baselines (chosen on valid as it is) and the rules of runs/showcase, or the files named. Printed
is the primary objective, and the paired difference of the first rule to the best of the baselines behind it
(the first is a baseline itself where there is no other rule); its rank *survives* if it stays ahead, and is
*clear* where the 95 % interval lies beyond zero.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluators.compiler.compile import CompiledProgram, compile_hooks, simulate
from evaluators.scoring import score
from evolve.statistics import compare, side
from problems import registry
from problems._hardware.devices import DEFAULT_ENGINE, device, engine
from problems.problem import Instance, Problem
from problems.serving._batching import suites as batching
from problems.serving._cluster.data import on_hosts
from problems.serving._routing import suites as routing
from problems.serving._server.machine import BLOCKS, HORIZON, Host, on_host

SHOWCASE = Path(__file__).parent.parent / "runs" / "showcase"


class Physics(NamedTuple):
    """Factors on what the hardware model says."""

    bandwidth: float = 1.0  # that kernels reach of the peak
    flops: float = 1.0
    overhead: float = 1.0  # of the engine, per step and sequence
    memory: float = 1.0  # KV cache


CASES = {
    "as fitted": Physics(),
    "eB -15 %": Physics(bandwidth=0.85),
    "eB +15 %": Physics(bandwidth=1.15),
    "eF -15 %": Physics(flops=0.85),
    "eF +15 %": Physics(flops=1.15),
    "overhead x 0.5": Physics(overhead=0.5),
    "overhead x 3": Physics(overhead=3.0),
    "KV cache -15 %": Physics(memory=0.85),
    "KV cache +15 %": Physics(memory=1.15),
}


def perturbed_host(host: Host, physics: Physics) -> Host:
    """The same GPUs and model, with other efficiencies and another engine."""
    on, runs = device(host.device), engine(DEFAULT_ENGINE)
    return host._replace(
        device=on._replace(
            gemm_bandwidth_efficiency=on.gemm_bandwidth_efficiency * physics.bandwidth,
            attention_bandwidth_efficiency=on.attention_bandwidth_efficiency * physics.bandwidth,
            small_op_bandwidth_efficiency=on.small_op_bandwidth_efficiency * physics.bandwidth,
            gemm_flops_efficiency=on.gemm_flops_efficiency * physics.flops,
            attention_flops_efficiency=on.attention_flops_efficiency * physics.flops,
        ),
        engine=runs._replace(step_s=runs.step_s * physics.overhead, sequence_s=runs.sequence_s * physics.overhead),
    )


def one_server(instance: Instance, physics: Physics) -> Any:
    """An instance of serving/continuous_batching under other physics."""
    data = instance.data
    host = perturbed_host(batching.SCENARIOS[instance.group].host, physics)
    return with_memory(on_host(data.requests, host, float(data.time_s[HORIZON])), physics.memory)


def cluster(instance: Instance, physics: Physics) -> Any:
    """An instance of serving/request_routing under other physics."""
    data, scenario = instance.data, routing.SCENARIOS[instance.group]
    hosts = [(perturbed_host(host, physics), count) for host, count in scenario.hosts]
    horizon_s = float(data.time_s[HORIZON])
    return with_memory(on_hosts(data.requests, hosts, horizon_s, cache_tokens=scenario.cache_tokens), physics.memory)


def with_memory(data: Any, factor: float) -> Any:
    """The instance with so many times the blocks of KV cache."""
    limit = np.array(data.limit)
    limit[..., BLOCKS] = np.floor(limit[..., BLOCKS] * factor)
    limit.setflags(write=False)
    return data._replace(limit=limit)


PROBLEMS: dict[str, Callable[[Instance, Physics], Any]] = {
    "serving/continuous_batching": one_server,
    "serving/request_routing": cluster,
}


def outcome(problem: Problem, instances: Sequence[Instance], program: CompiledProgram) -> Any:
    """Objectives of a program on instances; each solution is verified."""
    solutions = [simulate(problem, problem.default_decoder, i.data, program) for i in instances]
    return score(problem, instances, solutions, [0.0] * len(instances))


def report(name: str, files: Sequence[Path], count: int) -> None:
    """A row per physics: each rule's objective, and the first rule's difference to the best baseline behind it."""
    problem, objective = registry.load(name), registry.load(name).primary
    valid = problem.splits["valid"]()
    rules = {rule.name: compile_hooks(rule.source, problem) for rule in problem.rules}
    losses = {k: objective.loss(outcome(problem, valid, c).objectives[objective.name]) for k, c in rules.items()}
    bars = sorted(losses, key=lambda k: losses[k])[:count]
    found = {path.stem: compile_hooks(path.read_text(), problem) for path in files}
    programs = found | {bar: rules[bar] for bar in bars}
    first, *behind = programs
    behind = [bar for bar in bars if bar in behind]
    print(f"{name}, valid, {objective.name} ({objective.unit}), {len(valid)} instances\n")
    print("| physics | " + " | ".join(programs) + " | first less the best baseline behind it [95 %] | rank |")
    print("|" + "---|" * (3 + len(programs)))
    for title, physics in CASES.items():
        instances = [replace(i, data=PROBLEMS[name](i, physics)) for i in valid]
        ends = {k: outcome(problem, instances, program) for k, program in programs.items()}
        cells = [f"{end.objectives[objective.name]:.3f}" for end in ends.values()]
        best = min(behind, key=lambda bar: objective.loss(ends[bar].objectives[objective.name]))
        paired = compare(problem, objective, ends[first], ends[best], instances)
        clear = side(objective, paired.low, paired.high) == "better"
        ahead = objective.loss(paired.difference) < 0
        word = "survives, clear" if clear else "survives" if ahead else "lost"
        print(f"| {title} | " + " | ".join(cells), end=" | ")
        print(f"{paired.difference:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}], {best} | {word} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--rule", type=Path, nargs="+", help="of one problem; default the showcase's")
    parser.add_argument("--baselines", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.problem:
        shown = sorted(SHOWCASE.glob(f"{name.rpartition('/')[2]}*.py"))
        report(name, arguments.rule or shown, arguments.baselines)


if __name__ == "__main__":
    main()
