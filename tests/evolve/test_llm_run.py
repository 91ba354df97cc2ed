"""Whole runs with a model, over HTTP against a loopback server: what is kept, paid, refused."""

import os
import subprocess
import sys
import time

import pytest
from loopback import Loopback, say, status, trickle

from evaluators.outcome import Rejected
from evolve.store import Store

KEY = "sk-planted-000000000000"
REWRITE = (
    "Prefer short jobs that are due.\n```python\ndef priority(job, machine):\n"
    "    return max(machine.now + {} * job.duration, job.due)\n```"
)
DIFF = (
    "Weigh the duration more.\n<<<<<<< SEARCH\n    return job.due\n=======\n    return job.due + 0.25 * job.duration\n"
    ">>>>>>> REPLACE"
)
HANG = "```python\ndef priority(job, machine):\n    x = 0.0\n    while x >= 0.0:\n        x += 1.0\n    return x\n```"


def run(out, server, *flags: str) -> subprocess.CompletedProcess:
    """The command as a user types it, with a key in the environment and tiny instances of the user's own."""
    for split in ("train", "valid", "test"):
        folder = out.parent / split
        folder.mkdir(exist_ok=True)
        for k in range(4):
            folder.joinpath(f"{k}.csv").write_text("".join(f"{j + 2 * k + 1},{3 * j + len(split)}\n" for j in range(8)))
        flags += (f"--{split}", str(folder))
    command = [
        "run",
        "machine/total_tardiness",
        "--model",
        "openai/scripted",
        "--api-base",
        server.url,
        "--out",
        str(out),
    ]
    return evolve(*command, *flags)


def evolve(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from evolve.cli import main; main()", *arguments],
        env={**os.environ, "OPENAI_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
    )


def artefacts(folder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_model_improves_programs_and_every_call_is_journalled(tmp_path):
    answers = [say(REWRITE.format(1.0 + k / 10)) for k in range(6)]
    with Loopback(status(429, retry_after=1), status(500), *answers, say("I cannot help with that.")) as server:
        ended = run(tmp_path / "run", server, "--evaluations", "6")
        asked = len(server.requests)
    assert ended.returncode == 0, ended.stderr
    with Store(tmp_path / "run") as store:
        programs = [p for p in store.programs() if p.origin == "llm"]
        assert any(p.thought.startswith("Prefer short jobs") for p in programs)
        spend = store.spend()["openai/scripted"]
        assert store.meta("status") == "finished"
    assert spend["calls"] == asked - 2  # neither 429 nor 500 was answered
    assert spend["input_tokens"] == 100 * spend["calls"]
    assert KEY.encode() not in artefacts(tmp_path / "run")
    assert KEY not in ended.stdout + ended.stderr


def test_prose_and_edits_that_match_nothing_cost_no_evaluation(tmp_path):
    with Loopback(say("No."), say(DIFF.replace("job.due\n=", "nothing_like_it\n="))) as server:
        ended = run(tmp_path / "run", server, "--evaluations", "3")
    assert ended.returncode == 0, ended.stderr
    with Store(tmp_path / "run") as store:
        outcomes = [store.outcomes("train")[p.id] for p in store.programs() if p.origin == "llm"]
        assert outcomes
        assert all(isinstance(o, Rejected) and o.stage == "edit" for o in outcomes)
        assert "refusals in a row" in store.meta("status")


def test_an_endless_loop_from_a_model_is_one_timed_out_candidate(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("timeout_s = 1.0\n")
    with Loopback(say(HANG), *(say(REWRITE.format(1.5 + k / 10)) for k in range(4))) as server:
        ended = run(tmp_path / "run", server, "--evaluations", "4", "--config", str(settings))
    assert ended.returncode == 0, ended.stderr
    with Store(tmp_path / "run") as store:
        assert store.counts()["timed_out"] == 1


@pytest.mark.parametrize(
    ("answer", "said"), [(status(401, "bad key " + KEY), "OPENAI_API_KEY"), (status(404, "no such model"), "scripted")]
)
def test_a_refused_key_or_model_ends_the_run_in_one_line_at_once(tmp_path, answer, said):
    with Loopback(answer) as server:
        # a resume asks once more: the key may have been mended
        for go in (lambda: run(tmp_path / "run", server), lambda: evolve("resume", str(tmp_path / "run"))):
            started, before = time.monotonic(), len(server.requests)
            ended = go()
            seconds = time.monotonic() - started
            assert ended.returncode == 2
            assert said in ended.stderr
            assert len(ended.stderr.strip().splitlines()) == 1
            assert KEY not in ended.stderr + ended.stdout
            assert 1 <= len(server.requests) - before <= 8  # those under way when the first was refused; no retry
            assert seconds < 30  # the refusal itself is immediate; imports and baselines take what the machine takes
            with Store(tmp_path / "run") as store:
                assert store.meta("status").startswith("stopped")
                assert store.in_flight()["calls"] == 0


def test_a_key_from_a_file_is_used_and_found_nowhere_else(tmp_path):
    planted = "planted-in-a-file-0123456789"
    keys = tmp_path / "keys"
    keys.write_text(f"OPENAI_API_KEY={planted}\n")
    keys.chmod(0o600)
    echoes = [say(f"The key is {planted}. " + REWRITE.format(1.0 + k / 10)) for k in range(20)]
    with Loopback(*echoes, status(500, planted), status(400, planted), status(401, f"bad key {planted}")) as server:
        ended = run(tmp_path / "run", server, "--key-file", str(keys))
        used = {request.key for request in server.requests}
    assert (ended.returncode, used) == (2, {planted})
    assert planted.encode() not in artefacts(tmp_path / "run")
    assert planted not in ended.stdout + ended.stderr
    assert "[redacted]" in ended.stderr
    with Store(tmp_path / "run") as store:
        assert any("The key is [redacted]" in program.thought for program in store.programs())


def test_a_model_of_weight_zero_is_not_asked_while_another_works(tmp_path):
    with Loopback(*(say(REWRITE.format(1.0 + k / 10)) for k in range(200))) as server:
        flags = ("--model", "reserve", "--weight", "reserve=0", "--concurrency", "2", "--requests-per-minute", "6000")
        ended = run(tmp_path / "run", server, "--evaluations", "6", *flags)
        peak = server.peak
    assert ended.returncode == 0, ended.stderr
    assert peak <= 2
    with Store(tmp_path / "run") as store:
        assert set(store.spend()) == {"openai/scripted"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weight", "nobody=2"), "--weight 'nobody=2': nobody is none of the models: openai/scripted"),
        (("--weight", "0"), "--weight: at least one model needs a weight above 0"),
        (("--concurrency", "0"), "concurrency must be at least 1, got 0"),
        (("--concurrency", "1.5"), "--concurrency '1.5'"),
        (("--requests-per-minute", "openai/scripted=0"), "requests_per_minute must be positive"),
        (("--key-file", "no/such/file"), "--key-file no/such/file: cannot be read"),
        (("--max-calls", "0"), "max_calls: must be at least 1, got 0"),
    ],
)
def test_a_bad_setting_of_models_is_one_line_before_anything_is_made(tmp_path, call, flags, said):
    out = tmp_path / "run"
    model = ("--model", "openai/scripted", "--api-base", "http://127.0.0.1:9/v1")
    code, _, err = call("run", "machine/total_tardiness", *model, "--out", out, *flags)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_reply_that_never_ends_is_cut_and_the_run_goes_on(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("llm_timeout_s = 1.5\n")
    with Loopback(trickle(), *(say(REWRITE.format(1.2 + k / 10)) for k in range(4))) as server:
        ended = run(tmp_path / "run", server, "--evaluations", "4", "--config", str(settings))
    assert ended.returncode == 0, ended.stderr
    with Store(tmp_path / "run") as store:
        assert store.meta("status") == "finished" or "refusals" in store.meta("status")


@pytest.mark.parametrize(
    ("flag", "cap", "counted"),
    [
        ("--max-tokens", 20_000, ("input_tokens", "output_tokens")),
        ("--max-input-tokens", 10_000, ("input_tokens",)),
        ("--max-output-tokens", 9000, ("output_tokens",)),
        ("--max-calls", 7, ("calls",)),
    ],
)
def test_a_cap_ends_the_search_and_keeps_what_was_paid(tmp_path, flag, cap, counted):
    with Loopback(*(say(REWRITE.format(1 + k / 100)) for k in range(300))) as server:
        ended = run(tmp_path / "run", server, "--evaluations", "100", flag, str(cap))
    assert ended.returncode == 0, ended.stderr
    with Store(tmp_path / "run") as store:
        spend = store.spend()["openai/scripted"]
        assert store.meta("status").startswith("budget exhausted")
        assert store.meta("report")["splits"]["test"]
    assert 0 < sum(spend[name] for name in counted) <= cap


def test_a_dollar_cap_without_a_price_is_refused_before_anything_is_made(tmp_path):
    with Loopback(say("hi")) as server:
        ended = run(tmp_path / "run", server, "--max-usd", "1")
        assert server.requests == []
    assert ended.returncode == 2
    assert "--price" in ended.stderr
    assert not (tmp_path / "run").exists()
