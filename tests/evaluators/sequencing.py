"""The sequencing problem on five small instances, with a short time limit, for tests of Python mode."""

from __future__ import annotations

import dataclasses

from problems import registry

_WHOLE = registry.load("machine/total_tardiness_sequencing")
assert _WHOLE.solver is not None
PROBLEM = dataclasses.replace(
    _WHOLE,
    splits={
        "train": lambda: _WHOLE.splits["train"]()[100:250:30],
        "valid": lambda: _WHOLE.splits["valid"]()[60:120:30],
    },
    probes=lambda: _WHOLE.probes()[8:10],
    solver=dataclasses.replace(_WHOLE.solver, seconds=0.75),
)
EDD = PROBLEM.rules[0].source
MDD = PROBLEM.rules[2].source
