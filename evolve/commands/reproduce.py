"""``evolve reproduce``: check what papers claim of the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table

from evolve import tables
from evolve.commands.options import Json
from evolve.errors import UserError
from problems import registry
from problems.claims import Claim, Verdict
from problems.problem import Baseline

if TYPE_CHECKING:
    from evaluators.compiler.compile import CompiledProgram


HARDWARE = "hardware"  # in place of a problem: claims of devices and operators, problems/_hardware/claims.py


class Finding(NamedTuple):
    """A claim that has been checked."""

    problem: str  # or HARDWARE
    claim: Claim
    measured: float | None
    verdict: Verdict


def reproduce(
    papers: Annotated[list[str] | None, typer.Argument(help="Part of a paper's name; all papers if none.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out experiments that take, or compile for, more than seconds.")
    ] = False,
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/papers.md.")] = False,
) -> None:
    """Run the experiments that check published claims; print what was measured and what that says."""
    chosen = [(about, claim) for about, claim in _choose(papers or []) if not (quick and claim.slow)]
    findings = [_check(about, claim) for about, claim in chosen]
    if json:
        tables.print_json([_as_json(finding) for finding in findings])
    elif markdown:
        print(_page(findings), end="")
    else:
        tables.console.print(_table(findings))


def declared() -> list[tuple[str, Claim]]:
    """All claims, each with the problem whose baselines it is of, or HARDWARE."""
    from problems._hardware.claims import CLAIMS  # late: it imports numba

    of_problems = [(name, claim) for name in registry.names() for claim in registry.load(name).claims]
    return [(HARDWARE, claim) for claim in CLAIMS] + of_problems


def _choose(papers: Sequence[str]) -> list[tuple[str, Claim]]:
    """Claims of the papers that are named, in order of declaration."""
    every = declared()
    for name in papers:
        if not any(name.lower() in claim.paper.lower() for _, claim in every):
            known = ", ".join(dict.fromkeys(claim.paper for _, claim in every))
            raise UserError(f"no claim of a paper {name!r}; known: {known}")
    wanted = [name.lower() for name in papers] or [""]
    return [(about, claim) for about, claim in every if any(name in claim.paper.lower() for name in wanted)]


@cache
def _compiled(problem: str, source: str) -> CompiledProgram:
    # Here, not above: numba takes longer to import than the rest of the command.
    from evaluators.compiler.compile import compile_hooks

    return compile_hooks(source, registry.load(problem))


def _check(about: str, claim: Claim) -> Finding:
    """Run the experiment; every solution in it is verified."""
    from evaluators.compiler.compile import simulate

    def solve(rule: Baseline, data: Any) -> Any:
        problem = registry.load(about)
        solution = simulate(problem, problem.default_decoder, data, _compiled(about, rule.source))
        problem.verify(data, solution)
        return solution

    measured = claim.experiment(solve) if claim.experiment else None
    return Finding(about, claim, measured, claim.verdict(measured))


def _measured(finding: Finding) -> str:
    return "-" if finding.measured is None else f"{tables.figure(finding.measured)}{finding.claim.unit}"


def _verdict(finding: Finding) -> str:
    if finding.verdict == "reproduced" or not finding.claim.why:
        return finding.verdict
    return f"{finding.verdict}: {finding.claim.why}"


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "paper": finding.claim.paper,
        "problem": finding.problem,
        "claim": finding.claim.text,
        "published": finding.claim.published,
        "measured": finding.measured,
        "unit": finding.claim.unit,
        "setting": finding.claim.setting,
        "verdict": _verdict(finding),
    }


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("paper", "problem", "claim", "published", "measured", "verdict", box=None, pad_edge=False)
    for found in findings:
        claim = found.claim
        table.add_row(claim.paper, found.problem, claim.text, claim.published, _measured(found), _verdict(found))
    return table


def _page(findings: Sequence[Finding]) -> str:
    return "\n".join(_lines(findings)) + "\n"


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield "# Papers: what they claim, and what we measure\n"
    yield "Made by `evolve reproduce --markdown`; each row is declared next to the baselines of its problem,"
    yield "those of devices and operators in `problems/_hardware/claims.py`.\n"
    yield "*Reproduced*: within a quarter of the published range. *Direction only*: the same sign, another size."
    yield "*Not reproduced*: no effect here, or the opposite. *Not checkable*: the reason stands with it.\n"
    yield "| paper | problem | claim | published | measured | our setting | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for found in findings:
        claim = found.claim
        cells = (claim.paper, found.problem, claim.text, claim.published, _measured(found), claim.setting or "-")
        yield f"| {' | '.join(cells)} | {_verdict(found)} |"
