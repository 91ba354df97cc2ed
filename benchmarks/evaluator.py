"""Sealed evaluations per second and core on Work A, by way of compilation, and where the time goes.

Usage: ``python benchmarks/evaluator.py [--evaluations 300] [--workers N] [--rivals FILE]``.
Work A is what the rivals were measured on: 20 random job shops of 20 jobs and 15 machines and 3 of
50 x 20 per candidate, scheduled by Giffler and Thompson's procedure. ``--split train`` takes a
split of the problem instead, with the problem's default decoder. Candidates are children of the
baselines and of each other by genetic variation, as in a run's first generations, all distinct
and written beforehand: only evaluation is timed. Each batch runs once per way, in turns, because
machines are noisy; CPU time is that of all processes, and survives a loaded machine better.

``--rivals`` names a text file of lines ``name<TAB>evaluations/s``, in all and on the cores they use.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluators.admission.canonical import canonical_hash
from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok, Outcome, Rejected
from evaluators.sandbox.limits import available_cores
from evolve.program import Candidate, Program
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.proposer import EditRefused
from evolve.strategies.strategy import Proposal
from problems import registry
from problems.problem import Problem

PROBLEM, DECODER = "shop/job_shop", "giffler-thompson"
WORK_A = ((20, 20, 15), (3, 50, 20))  # count, jobs, machines
STEPS = (
    ("seal_s", "request, fork, seal"),
    ("compile_s", "compile"),
    ("run_s", "run"),
    ("transfer_s", "transfer, exit"),
    ("score_s", "verify, measure"),
)
RIVALS = ("OpenEvolve", "SkyDiscover", "GEPA", "LLM4AD", "ShinkaEvolve")
BATCH = 25


def write_work_a(folder: Path, seed: int) -> None:
    """The instances, in the standard text format."""
    rng = np.random.default_rng(seed)
    for count, jobs, machines in WORK_A:
        for k in range(count):
            rows = [f"{jobs} {machines}"]
            for _ in range(jobs):
                pairs = zip(rng.permutation(machines), rng.integers(1, 100, machines), strict=True)
                rows.append(" ".join(f"{machine} {duration}" for machine, duration in pairs))
            (folder / f"{jobs}x{machines}-{k}.txt").write_text("\n".join(rows) + "\n")


async def candidates(problem: Problem, count: int, seed: int) -> list[str]:
    """Sources of that many distinct programs."""
    rng = np.random.default_rng(seed)
    proposer = GeneticProposer(problem)
    unknown = Rejected("admit", "never evaluated")
    pool = [Candidate(Program(i, r.source, "baseline"), unknown) for i, r in enumerate(problem.rules)]
    hooks = tuple(hook.name for hook in problem.hooks)
    known = {canonical_hash(candidate.program.source, hooks) for candidate in pool}
    found: list[str] = []
    while len(found) < count:
        operator = str(rng.choice(proposer.operators))
        parents = tuple(pool[i] for i in rng.integers(len(pool), size=2))
        try:
            draft = await proposer.propose(Proposal(operator, parents), rng)
        except EditRefused:
            continue
        program = Program(len(pool), draft.source, proposer.origin)
        identity = canonical_hash(draft.source, hooks)
        if identity not in known:
            known.add(identity)
            pool.append(Candidate(program, unknown))
            found.append(draft.source)
    return found


@dataclass
class Way:
    """One way of compiling, and what it took so far."""

    name: str
    evaluator: Evaluator
    ready_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("trusted process", "zygote", "workers"), 0.0)
    )
    outcomes: list[Outcome] = field(default_factory=list)

    async def run(self, sources: list[str], split: str) -> None:
        """Evaluate a batch."""
        begun, begun_cpu_s = time.perf_counter(), self._cpu_s()
        self.outcomes += await asyncio.gather(*(self.evaluator.evaluate(source, split) for source in sources))
        self.wall_s += time.perf_counter() - begun
        for part, seconds in self._cpu_s().items():
            self.cpu_s[part] += seconds - begun_cpu_s[part]

    def _cpu_s(self) -> dict[str, float]:
        """CPU time of this process, the zygote, and the workers that have ended."""
        with open(f"/proc/{self.evaluator.zygote_pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        own, children = (sum(map(int, fields[i : i + 2])) / ticks for i in (11, 13))  # user and system
        return {"trusted process": time.process_time(), "zygote": own, "workers": children}

    def report(self, workers: int) -> float:
        """Print all; returns evaluations per second and core."""
        count = len(self.outcomes)
        good = [outcome for outcome in self.outcomes if isinstance(outcome, Ok)]
        compilers = Counter(outcome.compiler for outcome in good)
        kinds = Counter(outcome.kind for outcome in self.outcomes)
        total_ms, cpu_ms = 1000 * self.wall_s * workers / count, 1000 * sum(self.cpu_s.values()) / count
        print(f"\n{self.name}: {count} evaluations ({_counts(kinds)}), compiled: {_counts(compilers)}")
        print(f"  {total_ms:.1f} ms of one core each, of which (wall time, mean over ok)")
        accounted = 0.0
        for step, what in STEPS:
            mean_ms = 1000 * float(np.mean([outcome.cost[step] for outcome in good]))
            accounted += mean_ms
            print(f"    {what:<20}{mean_ms:7.1f} ms")
        print(f"    {'the rest':<20}{total_ms - accounted:7.1f} ms")
        parts = ", ".join(f"{part} {1000 * seconds / count:.1f}" for part, seconds in self.cpu_s.items())
        print(f"  CPU time per evaluation: {cpu_ms:.1f} ms ({parts})")
        rate = count / self.wall_s / workers
        print(f"  {self.name}: {rate:.1f} evaluations/s/core, {1000 / cpu_ms:.1f} per CPU second")
        print(f"  zygote ready after {self.ready_s:.2f} s")
        return rate


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counter.most_common())


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    problem = registry.load(arguments.problem)
    work_a = arguments.split == "work-a"
    sets = {"work-a": folder} if work_a else {}
    decoder = arguments.decoder or (DECODER if work_a else problem.default_decoder)
    sources = await candidates(problem, arguments.evaluations, arguments.seed)
    async with contextlib.AsyncExitStack() as stack:
        ways = []
        for name, lowered in (("lowered where possible", True), ("numba", False)):
            begun = time.perf_counter()
            evaluator = Evaluator(problem, decoder=decoder, workers=arguments.workers, sets=sets)
            evaluator.lowered = lowered
            ways.append(Way(name, await stack.enter_async_context(evaluator), time.perf_counter() - begun))
            await evaluator.evaluate(problem.rules[0].source, arguments.split)
        for first in range(0, len(sources), BATCH):
            for way in ways:
                await way.run(sources[first : first + BATCH], arguments.split)
        count = len(ways[0].evaluator.instances(arguments.split))
        print(f"{problem.name}, decoder {decoder}, {arguments.split} ({count} instances), {arguments.workers} workers")
        rates = [way.report(arguments.workers) for way in ways]
    compare(rates, arguments)
    print(f"sealed evaluations/s/core: {rates[0]:.1f}")


def compare(rates: list[float], arguments: argparse.Namespace) -> None:
    """A table with room for the rivals, who do not isolate anything."""
    rivals = dict.fromkeys(RIVALS, "-")
    if arguments.rivals:
        rivals |= dict(line.split("\t")[:2] for line in arguments.rivals.read_text().splitlines() if "\t" in line)
    print("\nevaluations/s, all cores in use:")
    print("  evolve, sealed | through numba | " + " | ".join(rivals))
    print("  " + " | ".join([*(f"{rate * arguments.workers:.1f}" for rate in rates), *rivals.values()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default=PROBLEM)
    parser.add_argument("--split", default="work-a")
    parser.add_argument("--decoder")
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rivals", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_work_a(Path(folder), arguments.seed)
        asyncio.run(measure(arguments, Path(folder)))


if __name__ == "__main__":
    main()
