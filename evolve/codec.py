"""Outcomes and other values as JSON text, with null for NaN and infinities (JSON has none)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from evaluators.outcome import FAILURES, Failure, Ok, Outcome


def dumps(value: Any) -> str:
    """JSON text, with null for NaN and infinities (JSON has none)."""
    return json.dumps(_finite(value), separators=(",", ":"))


def dump_outcome(outcome: Outcome) -> str:
    """The body of an outcome; its kind is kept beside it."""
    if isinstance(outcome, Failure):
        return dumps(dataclasses.asdict(outcome))
    return dumps(
        {
            "objectives": dict(outcome.objectives),
            "groups": {group: dict(values) for group, values in outcome.groups.items()},
            "values": dict(outcome.values),
            "raw": dict(outcome.raw),
            "fingerprint": outcome.fingerprint,
            "cost": dict(outcome.cost),
        }
    )


def load_outcome(kind: str, body: str) -> Outcome:
    """The outcome that ``dump_outcome`` was given."""
    fields = json.loads(body)
    nan = float("nan")
    if kind != Ok.kind:
        if "values" in fields:
            fields["values"] = [nan if v is None else v for v in fields["values"]]
        return FAILURES[kind](**fields)
    for name in ("values", "raw"):
        fields[name] = {key: [nan if v is None else v for v in row] for key, row in fields[name].items()}
    fields["objectives"] = {key: nan if v is None else v for key, v in fields["objectives"].items()}
    fields["groups"] = {
        group: {key: nan if v is None else v for key, v in row.items()} for group, row in fields["groups"].items()
    }
    return Ok(**fields)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
