"""Scores a schedule by the makespan that the program reports, as published evaluators have done."""

import importlib.util

DURATIONS = [[7, 3, 5, 2, 8, 4], [1, 9, 2, 6, 6, 3]]


def evaluate(program_path):
    try:
        spec = importlib.util.spec_from_file_location("program", program_path)
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        total = 0.0
        for durations in DURATIONS:
            makespan, _ = program.schedule(list(durations))
            total += makespan
        return {"combined_score": 1000.0 / (1.0 + total), "validity": 1.0}
    except Exception as error:
        return {"combined_score": 0.0, "validity": 0.0, "error": str(error)}
