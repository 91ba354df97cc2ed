"""Evaluator in ShinkaEvolve's form."""

import argparse
import os
from typing import Any

import numpy as np
from shinka.core import run_shinka_eval


def _cost(durations, weights, order) -> float:
    order = np.asarray(order, dtype=int)
    return float((np.cumsum(np.asarray(durations)[order]) * np.asarray(weights)[order]).sum())


def validate_order(run_output: tuple) -> tuple[bool, str | None]:
    durations, _, order = run_output
    if sorted(int(i) for i in order) != list(range(len(durations))):
        return False, "Every job must be sequenced once"
    return True, None


def get_kwargs(run_index: int) -> dict[str, Any]:
    return {"seed": run_index, "jobs": 12}


def aggregate(results: list[tuple]) -> dict[str, Any]:
    ratios = []
    for durations, weights, order in results:
        best = np.argsort(np.asarray(durations) / np.asarray(weights), kind="stable")
        ratios.append(_cost(durations, weights, best) / _cost(durations, weights, order))
    return {
        "combined_score": float(np.mean(ratios)),
        "public": {"worst_ratio": float(min(ratios))},
        "private": {"ratios": ratios},
        "text_feedback": "lower is worse",
    }


def main(program_path: str, results_dir: str):
    os.makedirs(results_dir, exist_ok=True)
    metrics, correct, error_msg = run_shinka_eval(
        program_path=program_path,
        results_dir=results_dir,
        experiment_fn_name="run_experiment",
        num_runs=4,
        get_experiment_kwargs=get_kwargs,
        validate_fn=validate_order,
        aggregate_metrics_fn=aggregate,
    )
    print("Evaluation completed." if correct else f"Evaluation failed: {error_msg}")
    for key, value in metrics.items():
        print(f"  {key}: {value}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="evaluator using shinka.eval")
    parser.add_argument("--program_path", type=str, default="initial.py")
    parser.add_argument("--results_dir", type=str, default="results")
    args = parser.parse_args()
    main(args.program_path, args.results_dir)
