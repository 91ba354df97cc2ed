"""What racing saves, and how often it drops what is truly better.

Usage: ``python benchmarks/racing.py [--problem NAME ...] [--evaluations 500] [--seed 21 ...] [--folder DIR]``.
For each problem a short run without racing gives a pool of genetic candidates with their values on
all of train. Every candidate is then raced again on those values, in the order and against the
opponent of its time, by the functions that decide in a run. A candidate is *better* if its mean is
below its opponent's, on all of train, or on a large fresh set of generated instances ("fresh"); a
*false drop* is a better candidate that is dropped. Where the opponent is the best of many on train,
most candidates that are better on fresh are worse on train, with or without races. Besides, all
pairs of the better half of the pool are raced, the better one against the worse: a harder test than
any run. Last, it is counted how many ancestors of the ten best programs would have been dropped.

``--folder`` keeps the runs and the values on fresh instances, and takes up what is there. The
settings in evaluators/racing.py were chosen on pools of seed 11, ALPHA on those of seeds 0, 1, 11 and 21; quote
those of other seeds. With several seeds the first lines of each are summed up at the end.
The last line is the CPU time of all processes, simulations or not.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

import evolve
from evaluators.evaluator import Evaluator
from evaluators.outcome import Dropped, Ok
from evaluators.racing import Plan, Race, is_worse, plan
from evaluators.sandbox.limits import Limits
from evolve.store import Store
from problems import registry
from problems.machine._potts_van_wassenhove import Suite, draw
from problems.problem import Problem
from problems.shop._taillard import generate, seeds

PROBLEMS = ("shop/job_shop", "machine/total_tardiness")
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2)
PAIRS = 3000
ONLINE = 40

Verdict = Callable[[np.ndarray, Plan, int], bool]  # differences so far, plan, which look


class Pool(NamedTuple):
    """Candidates of one run, in the order they were told."""

    problem: Problem
    values: np.ndarray  # (candidates, instances) losses on train
    cost_s: np.ndarray  # (instances,) CPU time of one simulation, mean over the pool
    fresh: np.ndarray  # (candidates,) mean loss on fresh instances
    sources: list[str]
    opponents: dict[str, list[tuple[int, int]]]  # kind -> (candidate, opponent) as rows
    lineage: set[int]  # rows of the ten best on train and of all their ancestors but baselines
    plan: Plan


def job_shops(folder: Path) -> None:
    """Four times as many instances as train has, of its sizes."""
    for n, m in ((10, 10), (15, 15), (20, 15), (20, 20), (30, 15), (30, 20), (50, 20)):
        for i in range(40):
            name = f"fresh-{n}x{m}-{i:02}"
            routing = generate(n, m, *seeds(name))
            rows = zip(routing.machine, routing.duration, strict=True)
            lines = [" ".join(f"{a} {b}" for a, b in zip(*row, strict=True)) for row in rows]
            (folder / f"{name}.txt").write_text("\n".join([f"{n} {m}", *lines]) + "\n")


def one_machine(folder: Path) -> None:
    """Four times as many instances as train has, of its classes."""
    for drawn in draw("fresh", Suite(seed=77, copies={20: 40, 50: 24, 100: 16})):
        rows = zip(drawn.duration, drawn.due, strict=True)
        (folder / f"{drawn.name}.csv").write_text("".join(f"{p},{d}\n" for p, d in rows))


FRESH = {"shop/job_shop": job_shops, "machine/total_tardiness": one_machine}


async def fresh_means(problem: Problem, sources: Sequence[str], folder: Path) -> np.ndarray:
    async with Evaluator(problem, sets={"fresh": folder}, limits=Limits(timeout_s=120.0)) as evaluator:
        outcomes = await asyncio.gather(*(evaluator.evaluate(s, "fresh", probe=False) for s in sources))
    name = problem.primary.name
    return np.array([problem.primary.loss(o.objectives[name]) if isinstance(o, Ok) else math.inf for o in outcomes])


def load_pool(name: str, evaluations: int, seed: int, folder: Path) -> Pool:
    problem = registry.load(name)
    stem = f"{name.replace('/', '-')}-{evaluations}-{seed}"
    if not (folder / stem).is_dir():
        evolve.run(name, evaluations=evaluations, seed=seed, race=False, out=folder / stem)
    with Store(folder / stem) as store:
        outcomes, asks, told = store.outcomes("train"), store.asks(), store.tells()
        programs = {p.id: p for p in store.programs()}
    good = [n for n in told if isinstance(outcomes[n], Ok)]
    primary = problem.primary
    values = np.array([[primary.loss(v) for v in outcomes[n].values[primary.name]] for n in good])
    timed = next(o.name for o in problem.objectives if o.kind == "decision_time")
    instances = problem.splits["train"]()
    decisions = np.array([problem.decisions(i.data) for i in instances])
    cost_s = 1e-9 * np.mean([outcomes[n].values[timed] for n in good], axis=0) * decisions
    rules = [row for row, n in enumerate(good) if programs[n].origin == "baseline"]
    sources = [programs[n].source for n in good]
    kept = folder / f"{stem}.fresh.npy"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as own:
            FRESH[name](Path(own))
            np.save(kept, asyncio.run(fresh_means(problem, sources, Path(own))))
    the_plan = plan(primary, instances, values[rules].tolist())
    assert the_plan is not None
    row_of = {n: row for row, n in enumerate(good)}
    opponents: dict[str, list[tuple[int, int]]] = {"champion": [], "parent": []}
    means = np.nanmean(values, axis=1)
    for n in good:
        if n in asks:
            before = [row_of[m] for m in told[: asks[n].told] if m in row_of]
            opponents["champion"].append((row_of[n], min(before, key=lambda row: means[row])))
            if asks[n].parents[0] in row_of:
                opponents["parent"].append((row_of[n], row_of[asks[n].parents[0]]))
    lineage = {good[row] for row in np.argsort(means, kind="stable")[:10]}
    grown = list(lineage)
    while grown:
        parents = programs[grown.pop()].parents
        grown += [n for n in parents if n not in lineage]
        lineage.update(parents)
    found = {row_of[n] for n in lineage if programs[n].origin != "baseline"}
    return Pool(problem, values, cost_s, np.load(kept), sources, opponents, found, the_plan)


def close_pairs(pool: Pool) -> list[tuple[int, int]]:
    """Better against worse, of all pairs in the better half."""
    means = np.nanmean(pool.values, axis=1)
    _, distinct = np.unique(pool.values, axis=0, return_index=True)
    half = [int(row) for row in distinct if means[row] <= np.median(means[distinct])]
    pairs = [(a, b) for a in half for b in half if means[a] < means[b]]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:PAIRS]
    return [pairs[i] for i in chosen]


# Ways to decide, each at the plan's alpha over all looks; ours is the first.


def ours(differences: np.ndarray, the_plan: Plan, look: int) -> bool:
    return is_worse(differences, the_plan)


@cache
def _quantile(tail: float, freedom: int) -> float:
    return float(stats.t.isf(tail, freedom))


def _t(differences: np.ndarray, the_plan: Plan, tail: float) -> bool:
    n = len(differences)
    error = differences.std(ddof=1) * math.sqrt((1 - n / the_plan.size) / n)
    return differences.mean() > (_quantile(tail, n - 1) * error if error > 0 else 0.0)


def bonferroni(differences: np.ndarray, the_plan: Plan, look: int) -> bool:
    return _t(differences, the_plan, the_plan.alpha / len(the_plan.looks))


def uncorrected(differences: np.ndarray, the_plan: Plan, look: int) -> bool:
    return _t(differences, the_plan, the_plan.alpha)


def wilcoxon(differences: np.ndarray, the_plan: Plan, look: int) -> bool:
    """Signed ranks, in the normal approximation, with Bonferroni's correction."""
    found = differences[differences != 0.0]
    if len(found) < 5:
        return False
    ranks = stats.rankdata(np.abs(found))
    score = (ranks * np.sign(found)).sum() / math.sqrt((ranks**2).sum())
    return score > stats.norm.isf(the_plan.alpha / len(the_plan.looks))


def mixture(differences: np.ndarray, the_plan: Plan, look: int) -> bool:
    """Confidence sequence of a normal mixture (an e-value bound at every n), tightest at a quarter of the split."""
    n, alpha = len(differences), the_plan.alpha
    rho = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / (the_plan.size / 4)
    half = math.sqrt(2 * (n * rho + 1) / (n * n * rho) * math.log(1 + math.sqrt(n * rho + 1) / (2 * alpha)))
    return differences.mean() > half * differences.std(ddof=1) * math.sqrt(1 - n / the_plan.size)


def stops(pool: Pool, pairs: Sequence[tuple[int, int]], the_plan: Plan, verdict: Verdict) -> np.ndarray:
    """How many instances each candidate runs; all of them if it is not dropped."""
    order = list(the_plan.order[: the_plan.size])
    found = np.full(len(pairs), len(the_plan.order))
    for k, (candidate, opponent) in enumerate(pairs):
        differences = pool.values[candidate, order] - pool.values[opponent, order]
        for look, n in enumerate(the_plan.looks):
            if verdict(differences[:n], the_plan, look):
                found[k] = n
                break
    return found


class Total(NamedTuple):
    """Counts over candidates, to be added up over pools."""

    run: int = 0  # simulations
    whole: int = 0  # those of full evaluation
    dropped: int = 0  # of the better ones
    better: int = 0  # on train

    def __add__(self, other: object) -> Total:
        return Total(*(a + b for a, b in zip(self, other, strict=True))) if isinstance(other, Total) else self

    def __str__(self) -> str:
        return f"saved {100 * (1 - self.run / self.whole):.1f} %, false drops {self.dropped}/{self.better}"


def report(pool: Pool, label: str, pairs: Sequence[tuple[int, int]], the_plan: Plan, verdict: Verdict) -> Total:
    ends = stops(pool, pairs, the_plan, verdict)
    size = len(the_plan.order)
    means = np.nanmean(pool.values, axis=1)
    better = np.array([means[c] < means[o] for c, o in pairs])
    truly = np.array([pool.fresh[c] < pool.fresh[o] for c, o in pairs])
    cost = np.concatenate([[0.0], np.cumsum(pool.cost_s[list(the_plan.order)])])
    dropped = ends < size
    print(
        f"  {label:<34} saved {100 * (1 - ends.mean() / size):5.1f} % of simulations, "
        f"{100 * (1 - cost[ends].mean() / cost[-1]):5.1f} % of their time; "
        f"false drops {_share(dropped, better)} on train, {_share(dropped, truly)} on fresh, "
        f"{_share(dropped, better & truly)} on both"
    )
    return Total(int(ends.sum()), len(ends) * size, int((dropped & better).sum()), int(better.sum()))


def ancestors(pool: Pool) -> None:
    """Whether the best programs would still have come about."""
    for kind, pairs in pool.opponents.items():
        ends = stops(pool, pairs, pool.plan, ours)
        lost = {c for (c, _), end in zip(pairs, ends, strict=True) if end < len(pool.plan.order)} & pool.lineage
        print(f"  against {kind}: {len(lost)} of the {len(pool.lineage)} ancestors of the ten best are dropped")


def _share(dropped: np.ndarray, among: np.ndarray) -> str:
    count, total = int((dropped & among).sum()), int(among.sum())
    return f"{100 * count / max(total, 1):4.1f} % ({count}/{total})"


def orders(pool: Pool) -> dict[str, Plan]:
    """The same looks on other orders of instances."""
    the_plan, size = pool.plan, pool.plan.size
    by_place = dict(zip(the_plan.order[:size], the_plan.scale, strict=True))
    usable, rest = sorted(by_place), the_plan.order[size:]
    found = {"chosen": the_plan}
    for name, order in (("as given", usable), ("random", np.random.default_rng(0).permutation(usable).tolist())):
        scale = tuple(by_place[i] for i in order)
        found[name] = dataclasses.replace(the_plan, order=(*order, *rest), scale=scale)
    return found


def cpu_s(evaluator: Evaluator) -> float:
    """CPU time of this process, the zygote and its workers that have ended."""
    fields = Path(f"/proc/{evaluator.zygote_pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


async def online(pool: Pool) -> None:
    """Race candidates for real: the same verdicts, and the time of both ways, one after the other."""
    pairs = pool.opponents["champion"][-ONLINE:]
    ends = stops(pool, pairs, pool.plan, ours)
    spent = {"raced": 0.0, "whole": 0.0}  # CPU seconds of all processes
    agree = 0
    async with Evaluator(pool.problem, workers=1) as evaluator:
        await evaluator.evaluate(pool.sources[0], "train")
        for (candidate, opponent), end in zip(pairs, ends, strict=True):
            race = Race(pool.plan, pool.values[opponent].tolist(), "the champion")
            for way, given in (("whole", None), ("raced", race)):
                begun = cpu_s(evaluator)
                outcome = await evaluator.evaluate(pool.sources[candidate], "train", race=given)
                spent[way] += cpu_s(evaluator) - begun
            agree += (outcome.instances if isinstance(outcome, Dropped) else len(pool.plan.order)) == end
    print(
        f"  in sealed workers: {agree} of {len(pairs)} verdicts as above; per evaluation "
        f"{1000 * spent['whole'] / len(pairs):.1f} ms of CPU whole, {1000 * spent['raced'] / len(pairs):.1f} ms raced"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=PROBLEMS, choices=PROBLEMS)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--seed", type=int, nargs="+", default=[21])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.problem:
            totals: defaultdict[str, Total] = defaultdict(Total)
            for seed in arguments.seed:
                examine(load_pool(name, arguments.evaluations, seed, folder), totals)
            for label, total in totals.items():
                print(f"{name}, {len(arguments.seed)} seeds, {label}: {total}")


def examine(pool: Pool, totals: defaultdict[str, Total]) -> None:
    """Print all of one pool, and add to what is known of others."""
    close = close_pairs(pool)
    print(
        f"{pool.problem.name}: {len(pool.values)} candidates, {len(pool.plan.order)} instances, looks {pool.plan.looks}"
    )
    for kind, pairs in pool.opponents.items():
        for alpha in ALPHAS:
            label = f"against {kind}, alpha {alpha}"
            totals[label] += report(pool, label, pairs, dataclasses.replace(pool.plan, alpha=alpha), ours)
    ancestors(pool)
    report(pool, f"close pairs, alpha {pool.plan.alpha}", close, pool.plan, ours)
    champions = pool.opponents["champion"]
    for verdict in (bonferroni, uncorrected, wilcoxon, mixture):
        report(pool, f"{verdict.__name__}, against champion", champions, pool.plan, verdict)
        report(pool, f"{verdict.__name__}, close pairs", close, pool.plan, verdict)
    for order, the_plan in orders(pool).items():
        report(pool, f"order {order}, against champion", champions, the_plan, ours)
        report(pool, f"order {order}, close pairs", close, the_plan, ours)
    asyncio.run(online(pool))


if __name__ == "__main__":
    main()
