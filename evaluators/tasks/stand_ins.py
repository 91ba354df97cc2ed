"""What evaluators written for other frameworks import from them, where those are not installed.

Of OpenEvolve that is one class, of ShinkaEvolve one function. The names and the files that are
written are theirs, as their users' evaluators have them; nothing else of either is here.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class EvaluationResult:
    """OpenEvolve: metrics, and notes that are not used here."""

    metrics: dict[str, Any]
    artifacts: dict[str, Any] = field(default_factory=dict)


def run_shinka_eval(  # as evaluators call it: all by name
    program_path: str,
    results_dir: str,
    experiment_fn_name: str,
    num_runs: int,
    get_experiment_kwargs: Callable[[int], Mapping[str, Any]] | None = None,
    aggregate_metrics_fn: Callable[[list[Any]], Mapping[str, Any]] | None = None,
    validate_fn: Callable[[Any], tuple[bool, str | None]] | None = None,
    **not_used: object,
) -> tuple[dict[str, Any], bool, str | None]:
    """ShinkaEvolve: run an experiment of the program, check each result, write and return metrics.

    Returns
    -------
    Metrics, whether all results were valid, and the first complaint. What the program raises goes on: it is
    no score of zero here.
    """
    spec = importlib.util.spec_from_file_location("program", program_path)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    experiment = getattr(program, experiment_fn_name)
    results, seconds, complaints = [], [], []
    for number in range(num_runs):
        arguments = get_experiment_kwargs(number) if get_experiment_kwargs else {"seed": number + 1}
        begun = time.perf_counter()
        results.append(experiment(**arguments))
        seconds.append(time.perf_counter() - begun)
        valid, complaint = validate_fn(results[-1]) if validate_fn else (True, None)
        if not valid:
            complaints.append(complaint or "a result is not valid")
    error = f"Validation failed: {complaints[0]}" if complaints else None
    metrics = dict(aggregate_metrics_fn(results)) if aggregate_metrics_fn and not complaints else {}
    metrics["execution_time_mean"] = sum(seconds) / max(len(seconds), 1)
    folder = Path(results_dir)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: float(value) for name, value in metrics.items() if hasattr(value, "__float__")}
    (folder / "metrics.json").write_text(json.dumps(numbers))
    (folder / "correct.json").write_text(json.dumps({"correct": not complaints, "error": error}))
    return metrics, not complaints, error


def install() -> None:
    """Have imports of those names find these, unless the real ones are installed."""
    for path, names in (
        ("openevolve.evaluation_result", {"EvaluationResult": EvaluationResult}),
        ("shinka.core", {"run_shinka_eval": run_shinka_eval}),
    ):
        package, _, module = path.partition(".")
        if importlib.util.find_spec(package) is None:
            inner, outer = types.ModuleType(path), types.ModuleType(package)
            vars(inner).update(names)
            vars(outer).update({module: inner, **names})
            sys.modules |= {package: outer, path: inner}
