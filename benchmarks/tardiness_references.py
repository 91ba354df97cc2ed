"""Recompute the stored optima of machine/total_tardiness.

Every instance of every split is solved exactly (problems/machine/_decomposition.py). The result
replaces problems/machine/_references.py. Takes about a minute on one core.

    python benchmarks/tardiness_references.py
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from problems.machine import _decomposition
from problems.machine._potts_van_wassenhove import SUITES, draw

TARGET = Path(_decomposition.__file__).with_name("_references.py")
MAX_STATES = 2**26
WIDTH = 120

HEAD = '''\
"""Optima of the generated instances of total tardiness. Written by benchmarks/tardiness_references.py.

Each value was proved by the decomposition solver (_decomposition.py), which agrees with brute force
on small instances and with independently computed optima on 840 others of 20 to 200 jobs. They are
stored because the 500-job instances take seconds each. In the order of the split.
"""

# fmt: off
'''


def lines(name: str, type_: str, entries: list[str]) -> list[str]:
    """A dictionary literal with one block of lines per entry."""
    return [f"{name}: dict[str, {type_}] = {{", *entries, "}"]


def numbers(split: str, values: list[int]) -> list[str]:
    """``"split": (...),`` wrapped to WIDTH."""
    rows, row = [], " " * 7
    for value in values:
        if len(row) + len(f" {value},") > WIDTH:
            rows.append(row)
            row = " " * 7
        row += f" {value},"
    return [f'    "{split}": (', *rows, row, "    ),"]


def main() -> None:
    optima: list[str] = []
    digests: list[str] = []
    for split, suite in SUITES.items():
        digest, values, started = hashlib.sha256(), [], time.perf_counter()
        for drawn in draw(split, suite):
            optimum = _decomposition.least_total_tardiness(drawn.duration, drawn.due, max_states=MAX_STATES)
            if optimum is None:
                raise SystemExit(f"{drawn.name} was not solved within {MAX_STATES} subproblems")
            digest.update(drawn.duration.tobytes() + drawn.due.tobytes())
            values.append(optimum)
        optima += numbers(split, values)
        digests.append(f'    "{split}": "{digest.hexdigest()[:16]}",')
        print(f"{split}: {len(values)} optima, {time.perf_counter() - started:.1f} s")
    body = [
        *lines("OPTIMA", "tuple[int, ...]", optima),
        "",
        "# Of the instances that these values belong to: SHA-256 of all durations and due dates.",
        *lines("DIGESTS", "str", digests),
    ]
    TARGET.write_text(HEAD + "\n".join(body) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
