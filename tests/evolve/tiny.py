"""Tiny job shops as a user's own instances: a whole run on them takes seconds."""

from pathlib import Path

import numpy as np


def job_shops(folder: Path, jobs: int = 6, machines: int = 4, count: int = 5) -> dict[str, Path]:
    """Write train, valid and test folders; returns the settings that name them."""
    rng = np.random.default_rng(11)
    found = {}
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True)
        for k in range(count):
            rows = [f"{jobs} {machines}"]
            for _ in range(jobs):
                routing, times = rng.permutation(machines), rng.integers(1, 100, machines)
                rows.append(" ".join(f"{machine} {time}" for machine, time in zip(routing, times, strict=True)))
            (folder / split / f"{k}.txt").write_text("\n".join(rows) + "\n")
        found[split] = folder / split
    return found
