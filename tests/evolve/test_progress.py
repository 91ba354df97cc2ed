"""The progress line of a run that is not on a terminal."""

from collections import Counter

from rich.console import Console

from evolve.loop import Status
from evolve.progress import Progress
from problems import registry


def status(**changes) -> Status:
    fields = {
        "evaluations": 50, "limit": 200, "counts": Counter(ok=48, timed_out=2), "best": 13.0, "best_baseline": 14.5,
        "front": 3, "elapsed_s": 5.0, "champion": 4, "phase": "searching",
    }  # fmt: skip
    return Status(**{**fields, **changes})


def test_a_line_holds_all_that_is_promised(capsys):
    with Progress(registry.load("shop/job_shop")) as progress:
        progress.update(status())
        progress._logged_at = -1e9  # as if seconds had passed
        progress.update(status(evaluations=100, elapsed_s=10.0))
    last = capsys.readouterr().out.splitlines()[-1]
    for said in (
        "100/200 evaluations",
        "best gap on train 13.00 % (best baseline 14.50 %)",
        "front 3",
        "48 ok, 2 timed out",
        "10.0/s",
        "10 s left",
    ):
        assert said in last


def test_lines_come_every_few_seconds_and_at_each_phase(capsys):
    with Progress(registry.load("shop/job_shop")) as progress:
        for _ in range(10):
            progress.update(status())
        progress.update(status(phase="selecting on valid"))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_is_left_of_each_cap_and_a_model_that_is_out_are_shown(capsys):
    left = {"evaluations": 150, "llm_calls": 12, "tokens": None, "output_tokens": 34_000, "usd": 1.25, "seconds": None}
    with Progress(registry.load("shop/job_shop")) as progress:
        progress.update(status(left=left, notice="out: m: the key was refused"))
        progress.update(status(left=dict.fromkeys(left), phase="selecting on valid"))
    with_caps, without = capsys.readouterr().out.splitlines()
    assert with_caps.endswith("left: 12 calls, 34,000 output tokens, $1.2500  out: m: the key was refused")
    assert "left:" not in without


def test_brackets_in_a_notice_are_shown_as_they_are(capsys):
    terminal = Console(force_terminal=True, width=200)
    with Progress(registry.load("shop/job_shop")) as progress:
        terminal.print(progress._panel(status(left={"usd": 0.5}, notice="out: m: bad key [redacted] [/]")))
    shown = capsys.readouterr().out
    assert "left: $0.5000" in shown
    assert "bad key [redacted] [/]" in shown
