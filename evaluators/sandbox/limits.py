"""Limits on one evaluation of one program."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one worker may use; whoever exceeds it is killed and gets a typed outcome."""

    timeout_s: float = 10.0  # wall clock, from fork to the last byte of the result
    memory_bytes: int = 2 * 2**30  # address space on top of what the zygote maps
    result_bytes: int = 64 * 2**20  # what the parent reads of a worker's answer

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_bytes", "result_bytes"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {value}")


def available_cores() -> int:
    """Cores this process may run on, which is less than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
