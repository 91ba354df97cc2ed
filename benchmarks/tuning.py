"""What tuning recovers of constants that were spoilt, by optimiser, and how fast it simulates.

Usage: ``python benchmarks/tuning.py [--problem NAME ...] [--evaluations 60] [--programs 4] [--folder DIR]``.
Good programs are the best distinct rules of a short genetic run, their float literals lifted to
parameters. Each constant is then multiplied by 10 or 0.1 (both bounds of a lifted literal), and the
program tuned on train. *Recovered* is the share of the loss in between that is gained back, on
train and on valid; no model is asked. Rates are simulations per second of CPU time, of the worker
and this process together.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

import evolve
from evaluators import racing, tuning
from evaluators.admission.literals import with_parameters
from evaluators.admission.parameters import parameters, with_values
from evaluators.evaluator import Evaluator
from evaluators.optimisers import OPTIMISERS
from evaluators.outcome import Ok
from evaluators.racing import Plan
from evaluators.sandbox.limits import Limits
from evolve.store import Store
from problems import registry
from problems.problem import Problem

PROBLEMS = ("shop/job_shop", "machine/total_tardiness")
_FEWEST, _MOST = 2, 20  # parameters of a program


def good_programs(name: str, seed: int, folder: Path) -> list[str]:
    """Rules of a run that have constants, lifted, the best first."""
    stem = f"{name.replace('/', '-')}-500-{seed}"
    if not (folder / stem).is_dir():
        evolve.run(name, evaluations=500, seed=seed, race=False, out=folder / stem)
    objective = registry.load(name).primary
    with Store(folder / stem) as store:
        outcomes = {n: o for n, o in store.outcomes("train").items() if isinstance(o, Ok)}
        ranked = sorted(outcomes, key=lambda n: (objective.loss(outcomes[n].objectives[objective.name]), n))
        sources = {n: store.program(n).source for n in ranked[:300]}
    found: dict[str, str] = {}
    for n, source in sources.items():
        lifted = with_parameters(source)
        if _FEWEST <= len(parameters(ast.parse(lifted))) <= _MOST:
            found.setdefault(outcomes[n].fingerprint, lifted)
    return list(found.values())


def spoil(source: str, rng: np.random.Generator) -> str:
    found = parameters(ast.parse(source))
    return with_values(source, [p.value * (10.0 if rng.random() < 0.5 else 0.1) for p in found])


async def loss(evaluator: Evaluator, source: str, split: str) -> float:
    outcome = await evaluator.evaluate(source, split, probe=False)
    objective = evaluator.problem.primary
    return objective.loss(outcome.objectives[objective.name]) if isinstance(outcome, Ok) else float("inf")


async def spoilt(evaluator: Evaluator, source: str, rng: np.random.Generator) -> tuple[str, float] | None:
    """A spoilt copy that runs and loses at least a tenth of its worth, with that loss."""
    good = await loss(evaluator, source, "train")
    for _ in range(5):
        bad = spoil(source, rng)
        lost = await loss(evaluator, bad, "train") - good
        if 0.1 * abs(good) < lost < float("inf"):
            return bad, lost
    return None


def cpu_s(process: int) -> float:
    """CPU time of this process, the zygote and its workers that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + sum(map(int, fields[11:15])) / 100.0


async def measure(problem: Problem, programs: list[str], count: int, evaluations: int) -> None:
    async with Evaluator(problem, workers=1, limits=Limits(timeout_s=60.0)) as evaluator:
        instances = evaluator.instances("train")
        rules = [await evaluator.evaluate(rule.source, "train", probe=False) for rule in problem.rules]
        name = problem.primary.name
        values = [o.values[name] for o in rules if isinstance(o, Ok)]
        the_plan = racing.plan(problem.primary, instances, values, tuning.ALPHA)
        rng = np.random.default_rng(1)
        cases: list[tuple[str, tuple[str, float]]] = []
        for good in programs:
            found = await spoilt(evaluator, good, rng)
            cases += [(good, found)] if found is not None else []
            if len(cases) == count:
                break
        print(f"{problem.name}: {len(cases)} programs, {evaluations} evaluations' worth of simulations each")
        for optimiser in OPTIMISERS:
            for way, plan in (("raced", the_plan), ("whole", None)):
                await compare(evaluator, cases, (optimiser, way, plan), evaluations * len(instances))


async def compare(
    evaluator: Evaluator, cases: list[tuple[str, tuple[str, float]]], how: tuple[str, str, Plan | None], effort: int
) -> None:
    optimiser, way, plan = how
    gained: dict[str, list[float]] = {"train": [], "valid": []}
    simulations, spent_s, sizes = 0, 0.0, []
    for good, (bad, _) in cases:
        assert evaluator.zygote_pid is not None
        begun_s = cpu_s(evaluator.zygote_pid)
        found = await tuning.search(evaluator, bad, "train", plan=plan, simulations=effort, optimiser=optimiser)
        spent_s += cpu_s(evaluator.zygote_pid) - begun_s
        assert isinstance(found, tuning.TuningResult), found
        simulations += found.simulations
        sizes.append(len(parameters(ast.parse(good))))
        for split in gained:
            before, after, best = [await loss(evaluator, text, split) for text in (bad, found.source, good)]
            gained[split].append(100.0 * (before - after) / (before - best))
    shares = "; ".join(
        f"{split} median {np.median(rows):.1f} %, least {min(rows):.1f} %, mean {np.mean(rows):.1f} %"
        for split, rows in gained.items()
    )
    print(
        f"  {optimiser:<12}{way:<6} recovered on {shares}; {np.mean(sizes):.0f} parameters; "
        f"{simulations / spent_s:,.0f} simulations/s/core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=PROBLEMS, choices=PROBLEMS)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--programs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=21, help="Of the genetic run.")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name in arguments.problem:
            programs = good_programs(name, arguments.seed, folder)
            asyncio.run(measure(registry.load(name), programs, arguments.programs, arguments.evaluations))


if __name__ == "__main__":
    main()
