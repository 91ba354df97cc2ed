"""Scores a search by the cost of what it finds; the cost goes to the program as a function."""

import importlib.util


def evaluate(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = program.search(lambda x: (x - 29) ** 2)
    return {"combined_score": -float((found - 29) ** 2) - 1.0}
