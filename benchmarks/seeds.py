"""Default runs over several seeds.

Does the gain on valid carry over to test?

python benchmarks/seeds.py shop/job_shop --seeds 5

Prints a Markdown table, a row per seed: champion and best baseline on valid and test, the paired
difference on test with its 95 % interval, seconds, and what the report says in words.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import evolve
from evolve.session import spent
from evolve.store import Store
from problems import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--evaluations", type=int, default=None)
    parser.add_argument("--tuning", type=int, default=None, help="evaluations' worth of simulations for each tuning")
    parser.add_argument("--sigma", type=float, default=None, help="first spread of a tuning, in shares of the bounds")
    parser.add_argument("--race", action="store_true", help="drop candidates that are clearly worse than their parent")
    parser.add_argument("--keep", type=Path, default=None, help="folder to keep the runs in")
    arguments = parser.parse_args()
    given = {key: getattr(arguments, key) for key in ("evaluations", "tuning", "sigma")}
    settings = {key: value for key, value in given.items() if value is not None}
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="evolve-seeds-"))
    primary = registry.load(arguments.problem).primary
    print("| seed | evaluations | valid | baseline | test | baseline | difference on test [95 %] | improved | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        started = time.perf_counter()
        out = evolve.run(
            arguments.problem,
            seed=seed,
            out=folder / f"seed-{seed}",
            race=arguments.race,
            **settings,
        )
        print(row(out, primary.name, seed, time.perf_counter() - started), flush=True)
    if arguments.keep is None:
        shutil.rmtree(folder)


def row(out: Path, objective: str, seed: int, seconds: float) -> str:
    """One line of the table."""
    with Store(out) as store:
        report, evaluations = store.meta("report"), spent(store)["evaluations"]
    cells = [str(seed), f"{evaluations:.0f}"]
    interval = None
    for split in ("valid", "test"):
        rows = {r["name"]: r for r in report["splits"][split]["programs"]}
        champion = next(r for r in rows.values() if r["id"] == report["champion"])
        baseline = rows.get(report["best_baseline"], champion)  # where no program beat it
        cells += [f"{r['objectives'][objective]:.3f}" for r in (champion, baseline)]
        interval = champion.get("against_baseline", {}).get(objective)
    beside = f"{interval['difference']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]" if interval else "-"
    return (
        "| "
        + " | ".join([*cells, beside, "yes" if report["improved"] else "no", f"{seconds:.0f}"])
        + " |\n"
        + "".join(f"<!-- {sentence} -->\n" for sentence in report["words"])
    )


if __name__ == "__main__":
    main()
