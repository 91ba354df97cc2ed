"""Run the rules of a problem on its probe instances as plain Python, and print what they did as JSON.

Run as a script with NUMBA_DISABLE_JIT=1: kernels and hooks are then ordinary functions, so this is
an independent reading of the same text.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np

from problems import registry
from problems.problem import Baseline, Problem

CALLS = 200  # recorded of each rule


def run(problem: Problem, rule: Baseline) -> dict[str, Any]:
    """Solutions by decoder and probe, and a sample of the calls: hook, arguments, returned value."""
    calls: list[Any] = []

    def recorded(name: str) -> Any:
        def hook(*arguments: Any) -> float:
            value = float(rule.hooks[name](*arguments[:-1]))  # the last is theta
            calls.append((name, [list(map(float, a)) for a in arguments[:-1]], value))
            return value

        return hook

    theta = np.zeros(0)
    solutions = {
        decoder: [
            [array.tolist() for array in kernel(probe.data, *map(recorded, rule.hooks), theta)]
            for probe in problem.probes()
        ]
        for decoder, kernel in problem.simulators.items()
    }
    return {"solutions": solutions, "calls": calls[:: max(1, len(calls) // CALLS)]}


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # unsigned integers wrap, as they do compiled
    loaded = registry.load(sys.argv[1])
    json.dump({rule.name: run(loaded, rule) for rule in loaded.rules}, sys.stdout)
