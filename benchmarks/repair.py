"""Whether repairs raise the number of programs that run per dollar, with the synthetic model.

For each share of flawed answers (programs with a line that is not admitted or does not compile) and each share of
them that a repair mends: programs that ran per dollar without and with ``--repair``, over so many seeds. The model
costs 1 dollar per million tokens in and 10 out; tokens are characters / 4.

    python benchmarks/repair.py --evaluations 60 --seeds 3
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


def ran_per_usd(skill: Skill, seed: int, evaluations: int, *, repair: bool) -> tuple[float, float]:
    """Programs that ran per dollar, and the share of all answers that ran."""
    with tempfile.TemporaryDirectory() as scratch:
        own = instances(Path(scratch) / "own")
        with SyntheticServer(SyntheticModel(registry.load(PROBLEM), skill, seed)) as server:
            folder = evolve.run(
                PROBLEM, model=(MODEL,), api_base=server.url, price=(f"{MODEL}=1,10",), evaluations=evaluations,
                seed=seed, repair=repair, out=Path(scratch) / "run", **own,
            )  # fmt: skip
        with Store(folder) as store:
            outcomes = store.outcomes("train")
            kinds = [outcomes[p.id].kind for p in store.programs() if p.origin == "llm" and p.id in outcomes]
            usd = sum(row["usd"] for row in store.spend().values())
    return kinds.count("ok") / usd, kinds.count("ok") / len(kinds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--flawed", type=float, nargs="*", default=[0.1, 0.3, 0.5])
    parser.add_argument("--mends", type=float, nargs="*", default=[0.5, 0.9])
    given = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "sk-synthetic")
    print("| flawed | mends | ran per $ without | with repair | ratio by seed |\n|---|---|---|---|---|", flush=True)
    for flawed in given.flawed:
        for mends in given.mends:
            skill = Skill(flawed=flawed, mends=mends)
            pairs = [
                [ran_per_usd(skill, seed, given.evaluations, repair=repair)[0] for repair in (False, True)]
                for seed in range(given.seeds)
            ]
            without, repaired = np.mean(pairs, axis=0)
            ratios = ", ".join(f"{b / a:.2f}" for a, b in pairs)
            print(f"| {flawed:.0%} | {mends:.0%} | {without:.0f} | {repaired:.0f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
