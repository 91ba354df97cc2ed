"""What the search loop itself costs per candidate, and whether that grows: no candidate is run.

Usage: ``python benchmarks/loop.py [--candidates 10000]``. A whole search with genetic proposals (asking,
proposing, recognising repeats, admitting, journalling, archiving, telling), in which an evaluation is
an instant answer whose numbers follow from the program's hash. CPU time of this process, in windows
that end at 100, 1,000 and 10,000 candidates.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np

from evaluators.admission.policy import admit
from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok, Outcome
from evaluators.racing import Race
from evolve.config import RunConfig
from evolve.loop import Search, Status
from evolve.session import prepare
from evolve.store import Store

PROBLEM = "shop/job_shop"
MARKS = (100, 1_000, 10_000)
WINDOW = 100  # candidates that a figure is the mean of


class Instant(Evaluator):
    """Admits a program like any evaluator, and makes its outcome up."""

    async def evaluate(self, source: str, split: str, *, probe: bool = True, race: Race | None = None) -> Outcome:
        """Good values by chance, the same for the same program."""
        admit(source, self.problem)
        rng = np.random.default_rng(list(hashlib.sha256(source.encode()).digest()))
        count = len(self.instances(split))
        values = {o.name: (50 * rng.random() + rng.random(count)).tolist() for o in self.problem.objectives}
        means = {name: float(np.mean(row)) for name, row in values.items()}
        raw = {"makespan": rng.integers(1000, 2000, count).astype(float).tolist()}
        return Ok(means, {f"group {k}": means for k in range(7)}, values, raw, rng.bytes(16).hex())


async def search(folder: Path, candidates: int) -> None:
    """Search, and print a figure whenever a mark is passed."""
    config = RunConfig.make(problem=PROBLEM, evaluations=candidates, tuning=0, out=folder / "run")
    parts = prepare(config)
    clock: list[float] = []  # CPU seconds of this process at each candidate told

    def tick(status: Status) -> None:
        if status.phase == "searching":
            clock.append(time.process_time())
            if len(clock) in MARKS:
                spent_ms = 1000 * (clock[-1] - clock[-WINDOW]) / (WINDOW - 1)
                print(
                    f"loop overhead per candidate, up to candidate {len(clock):,}: {spent_ms:.2f} ms of CPU", flush=True
                )

    evaluator = Instant(parts.problem, workers=1)
    for split in ("train", "valid"):
        evaluator.instances(split)  # drawn once, not per candidate
    with Store.create(config, {}) as store:
        found = Search(
            store=store,
            problem=parts.problem,
            evaluator=evaluator,
            proposer=parts.proposer,
            strategy=parts.strategy,
            budget=parts.budget,
            on_status=tick,
        )
        await found.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(search(Path(folder), arguments.candidates))


if __name__ == "__main__":
    main()
