"""Sealed evaluations per second and core, and where the time goes.

Usage: ``python benchmarks/evaluator.py [--problem shop/job_shop] [--evaluations 500] [--workers N]``.
Candidates are children of the baselines and of each other by genetic variation, as in a run's
first generations, all distinct. They are written beforehand: only evaluation is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter

import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.limits import available_cores
from evaluators.outcome import Ok, Outcome, Rejected
from evolve.program import Candidate, Program
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.proposer import EditRefused
from evolve.strategies.strategy import Proposal
from problems import registry
from problems.problem import Problem


async def candidates(problem: Problem, count: int, seed: int) -> list[str]:
    """Sources of that many distinct programs."""
    rng = np.random.default_rng(seed)
    proposer = GeneticProposer(problem)
    unknown = Rejected("admit", "never evaluated")
    pool = [Candidate(Program(i, r.source, "baseline"), unknown) for i, r in enumerate(problem.rules)]
    known = {candidate.program.key for candidate in pool}
    found: list[str] = []
    while len(found) < count:
        operator = str(rng.choice(proposer.operators))
        parents = tuple(pool[i] for i in rng.integers(len(pool), size=2))
        try:
            draft = await proposer.propose(Proposal(operator, parents), rng)
        except EditRefused:
            continue
        program = Program(len(pool), draft.source, proposer.origin)
        if program.key not in known:
            known.add(program.key)
            pool.append(Candidate(program, unknown))
            found.append(draft.source)
    return found


def cpu_s(evaluator: Evaluator) -> float:
    """CPU time of this process, the zygote and all its workers that have ended."""
    assert evaluator.zygote_pid is not None
    with open(f"/proc/{evaluator.zygote_pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


async def measure(problem: Problem, sources: list[str], workers: int) -> None:
    begun = time.perf_counter()
    async with Evaluator(problem, workers=workers) as evaluator:
        ready_s = time.perf_counter() - begun
        await evaluator.evaluate(problem.rules[0].source, "train")
        first_s = time.perf_counter() - begun
        begun, begun_cpu_s = time.perf_counter(), cpu_s(evaluator)
        outcomes = await asyncio.gather(*(evaluator.evaluate(source, "train") for source in sources))
        elapsed_s, spent_s = time.perf_counter() - begun, cpu_s(evaluator) - begun_cpu_s
        report(problem, evaluator, outcomes, elapsed_s, workers)
        print(f"CPU time per evaluation, all processes: {1000 * spent_s / len(outcomes):.1f} ms")
    print(f"zygote ready after {ready_s:.2f} s, first outcome after {first_s:.2f} s")


def report(problem: Problem, evaluator: Evaluator, outcomes: list[Outcome], elapsed_s: float, workers: int) -> None:
    rate = len(outcomes) / elapsed_s / workers
    print(f"{problem.name}, decoder {evaluator.decoder}, {len(evaluator.instances('train'))} train instances")
    print(f"outcomes: {', '.join(f'{kind} {n}' for kind, n in Counter(o.kind for o in outcomes).most_common())}")
    good = [outcome for outcome in outcomes if isinstance(outcome, Ok)]
    total_ms = 1000 * elapsed_s * workers / len(outcomes)
    print(f"time per evaluation: {total_ms:.1f} ms of one core, of which (mean over ok)")
    accounted = 0.0
    for step, what in (
        ("seal_s", "request, fork, seal"),
        ("compile_s", "compile"),
        ("run_s", "run"),
        ("transfer_s", "transfer, exit"),
        ("score_s", "verify, measure"),
    ):
        mean_ms = 1000 * float(np.mean([outcome.cost[step] for outcome in good]))
        accounted += mean_ms
        print(f"  {what:<20}{mean_ms:7.1f} ms")
    print(f"  {'the rest':<20}{total_ms - accounted:7.1f} ms")
    print(f"sealed evaluations/s/core: {rate:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="shop/job_shop")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    problem = registry.load(arguments.problem)

    async def work() -> None:
        await measure(problem, await candidates(problem, arguments.evaluations, arguments.seed), arguments.workers)

    asyncio.run(work())


if __name__ == "__main__":
    main()
