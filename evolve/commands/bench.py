"""``evolve bench strategies``: compare search strategies at equal budgets."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from evolve import tables
from evolve.bench import strategies as bench
from evolve.commands.options import Json
from evolve.config import DEFAULT_STRATEGY
from evolve.errors import UserError
from evolve.strategies import registry

app = typer.Typer(help="Compare, with the uncertainty of it.", no_args_is_help=True, rich_markup_mode=None)

# Small enough for a look, and for continuous integration, on two cores.
_QUICK: dict[str, Any] = {"problems": ["machine/total_tardiness"], "seeds": 2, "evaluations": 60}


@app.command("strategies")
def strategies(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="NAME or NAME:SETTING=VALUE,...; default: all. sample and greedy are always in."),
    ] = None,
    problem: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each strategy on each problem; default 5.")] = None,
    evaluations: Annotated[int | None, typer.Option(help="Of each run; default 1000.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Of the instances of train and valid, for cheaper runs; default all.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="litellm model string; default: genetic proposer.")] = None,
    api_base: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    price: Annotated[list[str] | None, typer.Option(help="MODEL=IN,OUT dollars per million tokens.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="Dollars of each run.")] = None,
    out: Annotated[Path | None, typer.Option(help="The bench's folder; default runs/bench-<time>.")] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Ask a seeded stand-in for a model, served on this machine.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="The default strategy, two seeds, 60 evaluations: minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every strategy on every problem and seed; print ranks with their uncertainty.

    An interrupted bench goes on where it stopped when it is given the same --out.
    """
    if synthetic and (model or api_base or price or max_usd):
        raise UserError(
            "--synthetic: is a model of its own and costs nothing; leave out --model and what belongs to it"
        )
    preset: dict[str, Any] = _QUICK if quick else {}
    settings = {
        "evaluations": evaluations or preset.get("evaluations", 1000),
        "share": share,
        "model": list(model or []) or None,
        "api_base": api_base,
        "price": list(price or []) or None,
        "max_usd": max_usd,
    }
    plan = bench.Plan.make(
        problem or preset.get("problems", ["shop/job_shop", "machine/total_tardiness"]),
        names or ([DEFAULT_STRATEGY] if quick else registry.names()),
        seeds if seeds is not None else preset.get("seeds", 5),
        out or Path("runs") / f"bench-{datetime.now():%Y%m%d-%H%M%S}",
        {key: value for key, value in settings.items() if value is not None},
        synthetic=synthetic,
    )
    result = bench.run(plan, on_run=lambda text: typer.echo(text, err=True))
    if as_json:
        tables.print_json(result)
    else:
        tables.show(bench.markdown(result), f"written: {plan.out / 'bench.md'}, {plan.out / 'bench.json'}")
