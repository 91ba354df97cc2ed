"""``evolve bench strategies``: every strategy on every problem and seed, at equal budgets.

Each run has a folder of its own below the bench's, ``<problem>/<strategy>/<seed>``; a bench that was
interrupted goes on where it stopped. What decides is the champion's value on valid, which guides no
search; test is never read here for a choice.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from evaluators.outcome import Ok
from evolve import session
from evolve.bench.comparison import improvement, mean_ranks
from evolve.errors import UserError
from evolve.store import Store
from evolve.strategies import registry as strategies
from evolve.synthetic import MODEL, SyntheticModel, SyntheticServer
from problems import registry

ALWAYS = ("sample", "greedy")  # without these two no comparison says anything
# Shares of the evaluations at which the best on train is noted.
MARKS = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Plan:
    """What is compared. ``settings`` are those of every run: evaluations, model, max_usd, ..."""

    problems: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: int
    out: Path
    settings: dict[str, Any] = field(default_factory=dict)
    synthetic: bool = False  # ask evolve/synthetic.py's model

    @classmethod
    def make(
        cls,
        problems: Sequence[str],
        names: Sequence[str],
        seeds: int,
        out: Path,
        settings: dict[str, Any],
        *,
        synthetic: bool = False,
    ) -> Plan:
        """Check a user's wishes; the two plain strategies are always in.

        Raises
        ------
        UserError
            If a name is unknown, or one seed is to carry a claim.
        """
        if seeds < 2:
            raise UserError(
                f"--seeds {seeds}: a single seed supports no claim about strategies; give at least 2 (5 for a report)"
            )
        try:
            loaded = [registry.load(problem) for problem in problems]
        except registry.UnknownProblem as error:
            raise UserError(str(error)) from None
        for name in names:
            strategies.build(name, loaded[0])
        if synthetic:
            # one call at a time: which of two equal prompts comes first then depends on no clock
            settings = {**settings, "model": [MODEL], "concurrency": ["1"], "deterministic": True}
        return cls(tuple(problems), tuple(dict.fromkeys([*ALWAYS, *names])), seeds, out, settings, synthetic)

    def folder(self, problem: str, strategy: str, seed: int) -> Path:
        """Where one run lives."""
        return self.out / problem.replace("/", "-") / strategy / str(seed)


def run(plan: Plan, *, on_run: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Make the runs that are missing, compare all, write ``bench.json`` and ``bench.md``."""
    _check_same(plan)
    for seed in range(plan.seeds):
        for problem in plan.problems:
            for strategy in plan.strategies:
                on_run(f"{problem}, {strategy}, seed {seed}")
                _one(plan, problem, strategy, seed)
    result = collect(plan)
    (plan.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (plan.out / "bench.md").write_text(markdown(result))
    return result


def collect(plan: Plan) -> dict[str, Any]:
    """The comparison of finished runs as a JSON-serialisable object."""
    rows = [
        {"problem": problem, "strategy": strategy, "seed": seed, **_read(plan.folder(problem, strategy, seed))}
        for problem in plan.problems
        for strategy in plan.strategies
        for seed in range(plan.seeds)
    ]
    losses = {
        strategy: {
            problem: np.array([r["loss"] for r in rows if r["problem"] == problem and r["strategy"] == strategy])
            for problem in plan.problems
        }
        for strategy in plan.strategies
    }
    return {
        "plan": {
            "problems": list(plan.problems),
            "strategies": list(plan.strategies),
            "seeds": plan.seeds,
            "settings": plan.settings,
        },
        "versions": session.versions(),
        "ranks": {name: rank._asdict() for name, rank in mean_ranks(losses).items()},
        "improvement": {
            bar: {a: improvement(losses, a, bar)._asdict() for a in plan.strategies if a != bar} for bar in ALWAYS
        },
        "runs": rows,
    }


def markdown(result: dict[str, Any]) -> str:
    """The tables for people: ranks, probability of improvement, values by problem, anytime curves."""
    plan = result["plan"]
    head = (
        f"# Strategies compared\n\n{plan['seeds']} seeds, settings {json.dumps(plan['settings'])}; "
        f"versions {json.dumps(result['versions'])}. The champion's value on valid decides; 95 % intervals by "
        "bootstrap over seeds within problems.\n"
    )
    order = sorted(plan["strategies"], key=lambda name: result["ranks"][name]["value"])
    bars = "".join(f" P(better than {bar}) |" for bar in ALWAYS)
    lines = [f"| strategy | mean rank |{bars}", "|---|---|" + "---|" * len(ALWAYS)]
    for name in order:
        against = [result["improvement"][bar].get(name) for bar in ALWAYS]
        cells = [_estimate(result["ranks"][name]), *(_estimate(p) if p else "-" for p in against)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    parts = [head, "\n".join(lines)]
    parts += [_problem_table(result, problem, order) for problem in plan["problems"]]
    return "\n\n".join(parts) + "\n"


def _problem_table(result: dict[str, Any], problem: str, order: Sequence[str]) -> str:
    marks = " | ".join(f"train at {mark:.0%}" for mark in MARKS)
    unit = registry.load(problem).primary.unit
    lines = [
        f"## {problem}\n\nMeans over seeds in {unit}; in brackets the lowest and highest seed.\n",
        f"| strategy | valid | {marks} |",
        "|---|---|" + "---|" * len(MARKS),
    ]
    for name in order:
        rows = [r for r in result["runs"] if r["problem"] == problem and r["strategy"] == name]
        valid = [r["valid"] for r in rows]
        train = [f"{np.mean([r['train'][k] for r in rows]):.3f}" for k in range(len(MARKS))]
        lines.append(
            f"| {name} | {np.mean(valid):.3f} [{min(valid):.3f}, {max(valid):.3f}] | " + " | ".join(train) + " |"
        )
    return "\n".join(lines)


def _estimate(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _one(plan: Plan, problem: str, strategy: str, seed: int) -> None:
    folder = plan.folder(problem, strategy, seed)
    begun = (folder / "run.sqlite").exists()
    with contextlib.ExitStack() as stack:
        settings = dict(plan.settings)
        if plan.synthetic:
            settings["api_base"] = stack.enter_context(_server(problem, seed, folder if begun else None)).url
        if begun:
            session.resume(folder)
        else:
            session.run(problem, strategy=strategy, seed=seed, out=folder, report=False, **settings)


def _server(problem: str, seed: int, folder: Path | None) -> SyntheticServer:
    """The synthetic model of one run, where a run that was begun looks for it."""
    port = 0
    if folder is not None:
        with Store(folder) as store:
            port = urlsplit(store.config.api_base or "").port or 0
    try:
        return SyntheticServer(SyntheticModel(registry.load(problem), seed=seed), port)
    except OSError as error:
        raise UserError(f"127.0.0.1:{port}: {error.strerror or error}; {folder} needs it to go on") from None


def _check_same(plan: Plan) -> None:
    """Refuse to mix runs of other settings into a comparison."""
    said = json.dumps(plan.settings, sort_keys=True)
    path = plan.out / "settings.json"
    if path.exists():
        if path.read_text() != said:
            raise UserError(f"{plan.out}: holds runs with settings {path.read_text()}, not {said}; name another --out")
        return
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        path.write_text(said)
    except OSError as error:
        raise UserError(f"{plan.out}: cannot be written: {error.strerror or error}; name another --out") from None


def _read(folder: Path) -> dict[str, Any]:
    """What one run found: ``loss`` and ``valid`` of its champion, best on ``train`` at each mark."""
    with Store(folder) as store:
        primary = registry.load(store.config.problem).primary
        outcomes = store.outcomes("train")
        origins = {program.id: program.origin for program in store.programs()}
        champion = store.outcomes_of(store.meta("champion"))["valid"]
        told = store.tells()
        spend = store.spend()
        elapsed_s = store.meta("elapsed_s")
    assert isinstance(champion, Ok)
    best, curve = math.inf, []
    for number in told:
        outcome = outcomes[number]
        if isinstance(outcome, Ok):
            best = min(best, primary.loss(outcome.objectives[primary.name]))
        if origins[number] != "baseline" and outcome.kind != "rejected":
            curve.append(best)
    at = [curve[max(math.ceil(mark * len(curve)) - 1, 0)] if curve else best for mark in MARKS]
    valid = champion.objectives[primary.name]
    return {
        "loss": primary.loss(valid),
        "valid": valid,
        "train": [primary.loss(1.0) * value for value in at],
        "evaluations": len(curve),
        "usd": sum(row["usd"] for row in spend.values()),
        "seconds": elapsed_s,
    }
