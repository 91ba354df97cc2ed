"""A run that is killed again and again ends as if it had not been, and asks for nothing twice."""

import os
import random
import signal
import subprocess

from loopback import Loopback
from scripted import evolve, finish, model, search

from evolve.cassette import Question
from evolve.operators import OPERATORS
from evolve.prompt import operators
from evolve.store import Store

EVALUATIONS = 14
# 200 are run with KILLS=200; every one starts a process, which takes seconds
KILLS = int(os.environ.get("KILLS", "3"))


def kill_after(process: subprocess.Popen, seconds: float) -> bool:
    """Whether the process was still running, and is now killed with all it started."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def in_journal(folder) -> set[str]:
    """Questions whose answer is in the journal."""
    if not (folder / "run.toml").exists():
        return set()
    with Store(folder) as store:
        return {recording.key for recording in store.replies()}


def asked(server: Loopback) -> list[str]:
    keys = []
    for request in server.requests:
        body = request.body
        parameters = {"temperature": None, "max_output_tokens": body["max_tokens"], "reasoning_effort": None}
        keys.append(Question("openai/scripted", parameters, body["messages"]).key)
    return keys


def cut_run(folder, flags: list, rng: random.Random, most: int) -> int:
    """Kill a run at most so many times, resuming it after each; returns how often it was killed."""
    kills = 0
    with model(slowest_s=0.5) as server:
        process = search(folder, server, *flags)
        while True:
            before, answered = len(server.requests), in_journal(folder)
            # the first second is the start of Python; most of what follows writes
            killed = kills < most and kill_after(process, 1.0 + 4.0 * rng.random())
            code, _, err = (0, "", "") if killed else finish(process)
            repeated = answered & set(asked(server)[before:])
            assert not repeated, f"paid for twice: {repeated}"
            if not killed:
                assert code == 0, err
                return kills
            kills += 1
            if folder.joinpath("run.toml").exists():
                process = evolve("resume", folder, OPENAI_API_KEY="sk-1234567")
            else:
                folder = folder.with_name(f"{folder.name}x")
                process = search(folder, server, *flags)


def operators_of_one() -> list[str]:
    return [name for name in operators() if OPERATORS[name].parents == 1]


def whole_run(folder) -> list:
    """Flags of a run in which no question comes up twice by itself: what is asked twice was paid for twice."""
    # with few operators and parents some question nearly always comes up twice
    chosen = [part for name in operators_of_one() for part in ("--operator", name)]
    for seed in range(20):
        flags = ["--evaluations", EVALUATIONS, "--deterministic", "--seed", seed, *chosen]
        with model() as server:
            code, _, err = finish(search(folder / f"seed{seed}", server, *flags))
            assert code == 0, err
            if len(set(asked(server))) == len(server.requests):
                (folder / f"seed{seed}").rename(folder / "whole")
                return flags
    raise AssertionError("in every run some question came up twice")


def test_killed_at_random_points_a_run_ends_with_the_same_hash(tmp_path):
    flags = whole_run(tmp_path)
    kills, rng, runs = 0, random.Random(KILLS), 0
    while kills < KILLS:
        runs += 1
        kills += cut_run(tmp_path / f"cut{runs}", flags, rng, KILLS - kills)
        cut = next(folder for folder in tmp_path.glob(f"cut{runs}*") if (folder / "run.toml").exists())
        with Store(tmp_path / "whole") as whole, Store(cut) as resumed:
            assert resumed.meta("status") == "finished"
            assert resumed.chain() == whole.chain()
            assert resumed.archive_hash() == whole.archive_hash()
