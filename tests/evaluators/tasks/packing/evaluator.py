"""Scores a bin packer by items packed per bin; what it returns is checked item by item."""

import importlib.util

import numpy as np

CAPACITY = 1.0


def instances():
    rng = np.random.default_rng(5)
    return [rng.uniform(0.1, 0.6, 40).round(3).tolist() for _ in range(4)]


def check(items, bins):
    packed = sorted(index for content in bins for index in content)
    if packed != list(range(len(items))):
        raise ValueError("every item must be packed once")
    for content in bins:
        load = sum(items[index] for index in content)
        if not load <= CAPACITY + 1e-6:
            raise ValueError("a bin is overfull")
    return len(bins)


def evaluate(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    used, least = 0, 0.0
    for items in instances():
        used += check(items, program.pack(list(items)))
        least += sum(items)
    return {"combined_score": least / used, "bins": used, "note": "lower bound over bins"}
