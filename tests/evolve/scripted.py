"""Whole runs with a scripted model, as processes that can be killed, on tiny instances."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from loopback import Loopback, Request, say_by

REWRITE = (
    "Weigh {0} and {1}.\n```python\ndef priority(job, machine):\n"
    "    return max(machine.now + {0} * job.duration, {1} * job.due)\n```"
)


def digits(request: Request) -> bytes:
    return hashlib.sha256(request.prompt.encode()).digest()


def improve(request: Request) -> str:
    """A program, or prose, as the prompt's hash has it; few different ones, so that some are equal."""
    first, second, third, *_ = digits(request)
    if third < 30:
        return "I cannot help with that."
    return REWRITE.format(0.5 + (first % 12) / 4, 0.5 + (second % 8) / 4)


def model(slowest_s: float = 0.05) -> Loopback:
    """A model that answers the same question always the same way, after a random time."""
    return Loopback(say_by(improve, delay_s=lambda request: os.urandom(1)[0] / 255 * slowest_s))


def instances(folder: Path) -> list[str]:
    """Flags that name tiny instances of the user's own."""
    flags = []
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for k in range(4):
            rows = "".join(f"{j + 2 * k + 1},{3 * j + len(split)}\n" for j in range(8))
            (folder / split / f"{k}.csv").write_text(rows)
        flags += [f"--{split}", str(folder / split)]
    return flags


def evolve(*arguments: object, **environment: str) -> subprocess.Popen:
    """The command in a process of its own group, so that a kill reaches whatever it started."""
    return subprocess.Popen(
        [sys.executable, "-c", "from evolve.cli import main; main()", *map(str, arguments)],
        env={**{k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout_s: float = 120.0) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def search(folder: Path, server: Loopback, *flags: object) -> subprocess.Popen:
    """A run with the scripted model."""
    command = ["run", "machine/total_tardiness", "--model", "openai/scripted", "--api-base", server.url]
    return evolve(
        *command, "--out", folder, *instances(folder.parent / "instances"), *flags, OPENAI_API_KEY="sk-1234567"
    )
