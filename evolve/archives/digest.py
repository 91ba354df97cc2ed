"""What a run found as one hash that does not depend on the machine.

Every told program is a link in a chain: its number, source, kind of outcome and the objectives
that are not measured times. Two runs agree on the hash if, and only if, they told the same programs
in the same order, with objectives equal to the last digit, and keep the same front; where two
chains part is the first program that differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from evaluators.outcome import Dropped, Ok
from evolve.program import Candidate
from problems.problem import Objective


def exact(objectives: Sequence[Objective]) -> list[Objective]:
    """The objectives that every machine agrees on: decision times are measured."""
    return [objective for objective in objectives if objective.kind != "decision_time"]


def link(before: str, candidate: Candidate, objectives: Sequence[Objective]) -> str:
    """The chain's next link, from the one before ("" at the start) and the candidate told."""
    program, outcome = candidate.program, candidate.outcome
    values = {}
    if isinstance(outcome, Ok):
        # hexadecimal, so that no digit is lost
        values = {o.name: float(outcome.objectives[o.name]).hex() for o in exact(objectives)}
    if isinstance(outcome, Dropped):
        values = {"instances": float(outcome.instances).hex(), "estimate": outcome.estimate.hex()}
    text = json.dumps([before, program.id, program.source, outcome.kind, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def archive_hash(chain: str, front: Sequence[int]) -> str:
    """The hash of a run: its chain's last link, and the ids on the front without decision times."""
    return hashlib.sha256(json.dumps([chain, sorted(front)]).encode()).hexdigest()
