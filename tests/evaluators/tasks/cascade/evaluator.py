"""Evaluator in OpenEvolve's form: a cascade of stages, a time limit in a thread, artifacts beside the metrics."""

import concurrent.futures
import importlib.util
import time
import traceback

import numpy as np
from openevolve.evaluation_result import EvaluationResult


def run_with_timeout(func, args=(), kwargs=None, timeout_seconds=5):
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(func, *args, **(kwargs or {}))
        try:
            return future.result(timeout=timeout_seconds)
        except concurrent.futures.TimeoutError:
            raise TimeoutError(f"Function timed out after {timeout_seconds} seconds") from None


def _load(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def _instances(count):
    rng = np.random.default_rng(3)
    return [(rng.integers(1, 20, 12), rng.integers(1, 10, 12)) for _ in range(count)]


def _cost(durations, weights, order):
    order = [int(i) for i in order]
    if sorted(order) != list(range(len(durations))):
        raise ValueError("every job must be sequenced once")
    return float((np.cumsum(durations[order]) * weights[order]).sum())


def _score(program, count):
    ratios = []
    for durations, weights in _instances(count):
        order = run_with_timeout(program.run_schedule, args=(durations, weights), timeout_seconds=5)
        best = _cost(durations, weights, np.argsort(durations / weights, kind="stable"))
        ratios.append(best / _cost(durations, weights, order))
    return float(np.mean(ratios))


def evaluate(program_path):
    try:
        started = time.time()
        program = _load(program_path)
        if not hasattr(program, "run_schedule"):
            return EvaluationResult(
                metrics={"combined_score": 0.0, "error": "Missing run_schedule function"},
                artifacts={"error_type": "MissingFunction", "suggestion": "define run_schedule"},
            )
        ratio = _score(program, 10)
        return EvaluationResult(
            metrics={"ratio": ratio, "reliability": 1.0, "combined_score": ratio},
            artifacts={"execution_time": f"{time.time() - started:.3f}s", "stage": "full"},
        )
    except Exception as e:
        return EvaluationResult(
            metrics={"combined_score": 0.0, "error": str(e)},
            artifacts={"full_traceback": traceback.format_exc()},
        )


def evaluate_stage1(program_path):
    """First stage: one instance."""
    try:
        ratio = _score(_load(program_path), 1)
        return EvaluationResult(metrics={"runs_successfully": 1.0, "combined_score": ratio}, artifacts={"stage": "1"})
    except Exception as e:
        return EvaluationResult(metrics={"runs_successfully": 0.0, "error": str(e)}, artifacts={"stage": "1"})


def evaluate_stage2(program_path):
    return evaluate(program_path)
