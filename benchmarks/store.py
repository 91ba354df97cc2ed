"""The run store at size: what a stored candidate costs, and how long looking into a long run takes.

python benchmarks/store.py --candidates 100000

Fills a run with candidates like those of shop/job_shop (280 instances, two objectives) and prints kB
per candidate, milliseconds per commit, and the seconds of `evolve show`, `front` and `runs` as processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from evaluators.outcome import Ok
from evolve.archives.digest import exact, link
from evolve.archives.pareto import ParetoArchive
from evolve.config import RunConfig
from evolve.program import Candidate, Program
from evolve.store import Ask, Store
from problems import registry

PROBLEM = "shop/job_shop"
TIMED = 2000  # candidates whose commits are timed
SOURCE = "def priority(op, shop):\n    return " + " + ".join(f"{k}.5 * op.duration" for k in range(12)) + " + {}\n"


def outcome(problem, rng: np.random.Generator, instances: int) -> Ok:
    names = [objective.name for objective in problem.objectives]
    values = {name: rng.random(instances).tolist() for name in names}
    means = {name: float(np.mean(row)) for name, row in values.items()}
    raw = {"makespan": rng.integers(1000, 2000, instances).astype(float).tolist()}
    return Ok(means, {f"group {k}": means for k in range(8)}, values, raw, "0123456789abcdef", {"run_s": 0.02})


def fill(folder: Path, candidates: int, instances: int) -> float:
    """Write a run; returns milliseconds per candidate, commit included, over the first of them."""
    problem, rng = registry.load(PROBLEM), np.random.default_rng(1)
    guide, archive = ParetoArchive(exact(problem.objectives)), ParetoArchive(problem.objectives)
    chain, seconds = "", 0.0
    bodies = [outcome(problem, rng, instances) for _ in range(50)]
    started = time.perf_counter()
    with Store.create(RunConfig.make(problem=PROBLEM, out=folder), {}) as store:
        done = 0
        while done < candidates:
            # one commit each, as in a run, until it is timed; then many, to be done sooner
            last = min(done + (1 if done < TIMED else 500), candidates)
            with store.transaction():
                for number in range(done, last):
                    source = SOURCE.format(number)
                    program = Program(number, source, "genetic", "mutate", (0,), "an idea in a few words")
                    candidate = Candidate(program, bodies[number % len(bodies)])
                    chain = link(chain, candidate, problem.objectives)
                    guide.add(candidate)
                    archive.add(candidate)
                    store.add_ask(Ask(number, "mutate", (0,), (), number))
                    store.add_program(program)
                    store.add_outcome(number, "train", candidate.outcome)
                    store.add_tell(number, chain)
                    store.set_meta("guide", [c.program.id for c in guide.members])
                    store.set_meta("front", [c.program.id for c in archive.members])
            done = last
            if done == TIMED:
                seconds = time.perf_counter() - started
        store.set_meta("status", "finished")
        store.set_meta("champion", 0)
    return 1000 * seconds / TIMED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--instances", type=int, default=len(registry.load(PROBLEM).splits["train"]()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evolve-store-") as parent:
        folder = Path(parent) / "run"
        per_commit = fill(folder, arguments.candidates, arguments.instances)
        size = (folder / "run.sqlite").stat().st_size
        started = time.perf_counter()
        with Store(folder) as store:
            store.counts(), store.spend(), store.archive_hash(), store.program(0)
        reading = time.perf_counter() - started
        seconds = {}
        for command in (["show", folder], ["front", folder], ["runs", parent]):
            code, started = "from evolve.cli import main; main()", time.perf_counter()
            subprocess.run([sys.executable, "-c", code, *command], check=True, stdout=subprocess.DEVNULL)
            seconds[f"evolve {command[0]}"] = time.perf_counter() - started
        print(f"{arguments.candidates:,} candidates of {arguments.instances} instances")
        print(f"  {size / arguments.candidates / 1000:.1f} kB and {per_commit:.2f} ms per candidate, commit included")
        print(f"  what show reads: {reading:.2f} s; commands, start of Python included:")
        print("  " + ", ".join(f"{name} {taken:.2f} s" for name, taken in seconds.items()))


if __name__ == "__main__":
    main()
