"""Whether repairs raise the number of programs that run per dollar, with the synthetic model.

For each share of flawed answers (programs with a line that is not admitted or does not compile) and each share of
them that a repair mends: programs that ran per dollar spent on repairs, and per dollar spent on all other calls of
the same runs; and how many repairs were made until they ended by themselves. The model costs 1 dollar per million
tokens in and 10 out; tokens are characters / 4.

    python benchmarks/repair.py --evaluations 60 --seeds 2
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

import evolve
from evolve.store import Store
from evolve.synthetic import MODEL, Skill, SyntheticModel, SyntheticServer
from problems import registry

PROBLEM = "machine/total_tardiness"


def instances(folder: Path) -> dict[str, Path]:
    """Tiny instances, so that asking takes longer than evaluating."""
    found = {}
    rng = np.random.default_rng(3)
    for split in ("train", "valid", "test"):
        found[split] = folder / split
        found[split].mkdir(parents=True)
        for k in range(4):
            jobs = zip(rng.integers(1, 20, 8), rng.integers(5, 80, 8), strict=True)
            (found[split] / f"{k}.csv").write_text("".join(f"{p},{d}\n" for p, d in jobs))
    return found


def spent_and_ran(skill: Skill, seed: int, evaluations: int) -> np.ndarray:
    """(2, 3) array: repairs and other calls; programs that ran, calls, dollars."""
    with tempfile.TemporaryDirectory() as scratch:
        own = instances(Path(scratch) / "own")
        with SyntheticServer(SyntheticModel(registry.load(PROBLEM), skill, seed)) as server:
            folder = evolve.run(
                PROBLEM, model=(MODEL,), api_base=server.url, price=(f"{MODEL}=1,10",), evaluations=evaluations,
                seed=seed, report=False, out=Path(scratch) / "run", **own,
            )  # fmt: skip
        with Store(folder) as store:
            outcomes = store.outcomes("train")
            made = [p for p in store.programs() if p.model]
            found = np.zeros((2, 3))
            for program in made:
                ran = program.id in outcomes and outcomes[program.id].kind == "ok"
                found[int(program.operator != "repair")] += (ran, 1, 0)
            for operator, row in store.spend("operator").items():
                found[int(operator != "repair"), 2] += row["usd"]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--flawed", type=float, nargs="*", default=[0.1, 0.3, 0.5])
    parser.add_argument("--mends", type=float, nargs="*", default=[0.4, 0.6, 0.8, 0.95])
    given = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "sk-synthetic")
    print("| flawed | mends | repairs | ran per $ of repairs | of other calls |\n|---|---|---|---|---|", flush=True)
    for flawed in given.flawed:
        for mends in given.mends:
            skill = Skill(flawed=flawed, mends=mends)
            runs = [spent_and_ran(skill, seed, given.evaluations) for seed in range(given.seeds)]
            (ran, calls, usd), (other_ran, _, other_usd) = np.sum(runs, axis=0)
            per_usd = f"{ran / usd:.0f}" if usd else "-"
            print(f"| {flawed:.0%} | {mends:.0%} | {calls:.0f} | {per_usd} | {other_ran / other_usd:.0f} |", flush=True)


if __name__ == "__main__":
    main()
