"""CPU time of one simulation, by problem, decoder and instance group.

python benchmarks/simulators.py [PROBLEM ...]

For each problem its first rule baseline is compiled once and run on the test split; printed is the mean over
the instances of a group of the shortest of five repeats, in milliseconds.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

from evaluators.compiler.compile import compile_hooks, simulator
from problems import registry

REPEATS = 5


def main() -> None:
    for name in sys.argv[1:] or registry.names():
        problem = registry.load(name)
        if problem.form != "hooks":
            continue  # whole programs have no simulator
        rule = problem.rules[0]
        program = compile_hooks(rule.source, problem)
        instances = problem.splits["test"]()
        for decoder in problem.simulators:
            by_group: dict[str, list[float]] = defaultdict(list)
            for instance in instances:
                simulate = simulator(problem, decoder, instance.data)
                shortest = min(_once(simulate, instance.data, program) for _ in range(REPEATS))
                by_group[instance.group].append(shortest / 1e6)
            every = [ms for group in by_group.values() for ms in group]
            groups = "  ".join(f"{group} {sum(ms) / len(ms):.3f}" for group, ms in by_group.items())
            print(f"{name}, {decoder}, {rule.name}: mean {sum(every) / len(every):.3f} ms   {groups}")


def _once(simulate, data, program) -> int:
    start = time.thread_time_ns()
    simulate(data, *program.hooks, program.theta)
    return time.thread_time_ns() - start


if __name__ == "__main__":
    main()
