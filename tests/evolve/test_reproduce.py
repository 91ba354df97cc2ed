from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evolve.cli import app
from evolve.commands.reproduce import declared
from evolve.errors import UserError
from problems.claims import Claim

CLAIM = Claim("A (2024)", "b over c", "2-4x", 2.0, 4.0, tolerance=0.25)
PAGE = Path(__file__).parents[2] / "docs/papers.md"


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (None, "not checkable"),
        (1.5, "reproduced"),
        (5.0, "reproduced"),
        (1.49, "direction only"),
        (9.0, "direction only"),
        (1.01, "not reproduced"),
        (0.5, "not reproduced"),
        (float("inf"), "direction only"),
    ],
)
def test_a_verdict_is_range_then_direction(measured: float | None, verdict: str) -> None:
    assert CLAIM.verdict(measured) == verdict


def test_claims_say_what_is_checked_or_why_it_is_not() -> None:
    assert len(declared()) >= 40
    for _, claim in declared():
        assert claim.paper
        assert claim.text
        assert claim.published
        assert claim.setting if claim.experiment else claim.why


def test_reproduce_prints_a_list_of_objects() -> None:
    run = CliRunner().invoke(app, ["reproduce", "s3", "xLLM", "--json"])
    found = json.loads(run.stdout)
    assert [(f["paper"], f["problem"]) for f in found] == [
        ("xLLM (2025)", "hardware"),
        ("S3 (2023)", "serving/continuous_batching"),
    ]
    assert set(found[0]) >= {"paper", "problem", "claim", "published", "measured", "verdict"}
    assert found[0]["measured"] is None
    assert found[0]["verdict"].startswith("not checkable: ")
    assert found[1]["measured"] > 1.0


def test_a_quick_check_leaves_out_what_takes_long() -> None:
    run = CliRunner().invoke(app, ["reproduce", "D2MoE", "BatchLLM", "--quick", "--json"])
    assert [f["paper"] for f in json.loads(run.stdout)] == ["D2MoE (2025)"] * 2
    assert all(claim.experiment for _, claim in declared() if claim.slow)


def test_an_unknown_paper_is_refused_with_those_there_are() -> None:
    run = CliRunner().invoke(app, ["reproduce", "nonsense"])
    assert isinstance(run.exception, UserError)
    assert "'nonsense'; known: " in str(run.exception)
    assert "\n" not in str(run.exception)


def test_the_page_of_papers_has_a_row_for_each_claim_as_declared() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(declared())
    for row, (name, claim) in zip(rows, declared(), strict=True):
        assert row.startswith(f"| {claim.paper} | {name} | {claim.text} | {claim.published} | ")
        assert f" | {claim.setting or '-'} | " in row
        assert row.endswith((f": {claim.why} |", " | reproduced |", " | direction only |", " | not reproduced |"))


@pytest.mark.slow
@pytest.mark.parametrize("paper", ["NanoFlow", "D2MoE", "vLLM", "S3", "VTC", "KVFlow", "BatchLLM"])
def test_the_page_of_papers_is_what_reproduce_prints(paper: str) -> None:
    """Of the papers that take seconds; `evolve reproduce --markdown` checks all, in minutes."""
    run = CliRunner().invoke(app, ["reproduce", paper, "--markdown"])
    rows = [line for line in run.stdout.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert set(rows) <= set(PAGE.read_text(encoding="utf-8").splitlines())
