"""Diversity cells: what an addition costs, and what they hold of the programs of finished runs.

python benchmarks/cells.py --candidates 10000 --groups 8 [RUN ...]

Prints milliseconds per addition after 100, 1,000 and so on candidates; for each run, how its groups
agree and how many cells are occupied, with the rank of their elites (0 the best, 1 the worst of the run), for
the archive's pairs of groups and for 32 Halton points over the ranks by group, which are compared with it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import qmc, rankdata

from evaluators.outcome import Ok
from evolve.archives.cells import CellArchive
from evolve.program import Candidate, Program
from evolve.store import Store
from problems import registry
from problems.problem import Objective


def cost(candidates: int, groups: int) -> None:
    rng = np.random.default_rng(1)
    archive = CellArchive(Objective("cost", "cost", "1", "mean"))
    level = rng.random(candidates)
    scores = level[:, None] + 0.2 * rng.random((candidates, groups))
    spent = np.zeros(candidates)
    for n in range(candidates):
        named = {f"group {k}": {"cost": float(x)} for k, x in enumerate(scores[n])}
        parent = (int(rng.integers(n)),) if n else ()
        candidate = Candidate(Program(n, "", "genetic", parents=parent), Ok({"cost": float(level[n])}, named, {}, {}))
        started = time.process_time()
        archive.add(candidate)
        spent[n] = time.process_time() - started
    for n in (10**k for k in range(2, 9) if 10**k <= candidates):
        last = spent[max(n - 1000, 0) : n]
        print(f"{n:>9,} candidates, {len(archive)} cells: {1e3 * last.mean():.2f} ms per addition")


def compare(folder: Path) -> None:
    with Store(folder) as store:
        problem, outcomes, order = registry.load(store.config.problem), store.outcomes("train"), store.tells()
        programs = {program.id: program for program in store.programs()}
    primary = problem.primary
    found = [c for n in order if isinstance((c := Candidate(programs[n], outcomes[n])).outcome, Ok)]
    losses = [primary.loss(c.objective(primary.name)) for c in found]
    rows = [[primary.loss(row[primary.name]) for row in c.outcome.groups.values()] for c in found]
    ranks = (rankdata(rows, axis=0) - 0.5) / len(rows)
    agreement = np.corrcoef(ranks.T)[np.triu_indices(ranks.shape[1], 1)].mean()
    print(f"{folder}: {len(rows)} programs that are ok, {ranks.shape[1]} groups, mean rank correlation {agreement:.2f}")
    archive = CellArchive(primary)
    for candidate in found:
        archive.add(candidate)
    place = dict(zip((c.program.id for c in found), (rankdata(losses) - 1) / (len(losses) - 1), strict=True))
    _tell("best and worst group", [place[c.program.id] for c in archive.members])
    points = qmc.Halton(ranks.shape[1], scramble=False).random(33)[1:]
    best: dict[int, int] = {}
    for n, rank in enumerate(ranks):
        cell = int(np.square(points - rank).sum(axis=1).argmin())
        best[cell] = min(best.get(cell, n), n, key=lambda k: losses[k])
    _tell("32 Halton points", [place[found[n].program.id] for n in best.values()])


def _tell(name: str, places: list[float]) -> None:
    quarters = ", ".join(f"{q:.2f}" for q in np.quantile(places, [0.25, 0.5, 0.75]))
    print(f"  {name}: {len(places)} cells, quartiles of their elites' rank {quarters}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    args = parser.parse_args()
    cost(args.candidates, args.groups)
    for folder in args.runs:
        compare(folder)


if __name__ == "__main__":
    main()
