"""``evolve run`` and ``evolve resume``: start and continue a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from evolve import session, tables
from evolve.cassette import read_cassette, write_cassette
from evolve.commands.options import Run, WeakSandbox, load_problem, task_name
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.progress import Progress
from evolve.store import Store
from problems import registry

_Text = str | None
_Folder = Path | None


def run(
    problem: Annotated[str | None, typer.Argument(help="e.g. shop/job_shop; see evolve problems")] = None,
    model: Annotated[list[str] | None, typer.Option(help="litellm model string; may be given several times.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="MODEL=NUMBER: how often it is asked; default 1.")] = None,
    strong_model: Annotated[_Text, typer.Option(help="Model for redesigns on a plateau; default the dearest.")] = None,
    concurrency: Annotated[
        list[str] | None, typer.Option(help="Requests at once: NUMBER for each model, or MODEL=NUMBER; default 8.")
    ] = None,
    requests_per_minute: Annotated[
        list[str] | None, typer.Option(help="NUMBER for each model, or MODEL=NUMBER; default as many as come.")
    ] = None,
    key_file: Annotated[_Folder, typer.Option(help="File of NAME=value lines with keys, mode 600.")] = None,
    api_base: Annotated[_Text, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    proposer: Annotated[_Text, typer.Option(help="genetic (default, no key needed), llm, mailbox, replay.")] = None,
    cassette: Annotated[_Folder, typer.Option(help="Replies to use instead of a model; see evolve cassette.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option(help="Tell candidates in the order of their proposals; slower with a model.")
    ] = None,
    strategy: Annotated[
        _Text,
        typer.Option(help="NAME or NAME:SETTING=VALUE,...: how to search."),
    ] = None,
    operator: Annotated[
        list[str] | None, typer.Option(help="What models are asked for; default rewrite and diff; see evolve prompt.")
    ] = None,
    repair: Annotated[
        bool | None,
        typer.Option("--repair/--no-repair", help="Ask once more for what does not compile; default with models."),
    ] = None,
    prompts: Annotated[_Folder, typer.Option(help="Folder of your own templates; see docs/prompts.md.")] = None,
    evaluations: Annotated[int | None, typer.Option(help="Candidates to evaluate on train.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="Dollars that may be spent on models.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Calls of models that may be paid for.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens, in and out, that may be used.")] = None,
    max_input_tokens: Annotated[int | None, typer.Option(help="Input tokens that may be used.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(help="Output tokens of all calls together.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Wall-clock seconds of search.")] = None,
    price: Annotated[list[str] | None, typer.Option(help="MODEL=IN,OUT dollars per million tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature of the models.")] = None,
    reasoning_effort: Annotated[_Text, typer.Option(help="Passed to the models as it is.")] = None,
    decoder: Annotated[_Text, typer.Option(help="A decoder of the problem.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    race: Annotated[
        bool | None, typer.Option("--race/--no-race", help="Drop what is clearly worse before all of train was run.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="How often a race may drop what is as good; default 0.1.")] = None,
    tuning: Annotated[
        int | None, typer.Option(help="Evaluations' worth of simulations for each tuning of constants; 0: none.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="First spread of a tuning, in shares of the bounds; default 0.2.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Evaluations at once; default one per core.")] = None,
    train: Annotated[_Folder, typer.Option(help="Your own instances to search on.")] = None,
    valid: Annotated[_Folder, typer.Option(help="Your own instances to select on.")] = None,
    test: Annotated[_Folder, typer.Option(help="Your own instances to report on.")] = None,
    out: Annotated[_Folder, typer.Option(help="The run's folder; default runs/<problem>-<time>.")] = None,
    config: Annotated[_Folder, typer.Option(help="TOML file of settings; flags win over it.")] = None,
    task: Annotated[
        _Folder, typer.Option(help="Your own initial_program.py and evaluator.py; see docs/tasks.md.")
    ] = None,
    trust_evaluator: Annotated[
        bool, typer.Option("--trust-evaluator", help="Do not probe a task's evaluator for exploits first.")
    ] = False,
    allow_weak_sandbox: WeakSandbox = False,
) -> None:
    """Search for a heuristic; keep the run in its folder and end with a report on test."""
    given: dict[str, Any] = {
        "problem": problem, "model": tuple(model) if model else None, "api_base": api_base, "proposer": proposer,
        "operators": tuple(operator or ()) or None, "prompts": prompts, "repair": repair,
        "strategy": strategy, "evaluations": evaluations, "max_usd": max_usd, "max_tokens": max_tokens,
        "weight": tuple(weight or ()) or None, "strong_model": strong_model,
        "concurrency": tuple(concurrency or ()) or None,
        "requests_per_minute": tuple(requests_per_minute or ()) or None, "key_file": key_file,
        "max_calls": max_calls, "max_input_tokens": max_input_tokens, "max_output_tokens": max_output_tokens,
        "max_seconds": max_seconds, "price": tuple(price) if price else None, "temperature": temperature,
        "reasoning_effort": reasoning_effort, "decoder": decoder, "seed": seed, "workers": workers, "train": train,
        "race": race, "alpha": alpha, "tuning": tuning, "sigma": sigma,
        "valid": valid, "test": test, "cassette": cassette, "deterministic": deterministic, "out": out,
        "allow_weak_sandbox": allow_weak_sandbox or None, "trust_evaluator": trust_evaluator or None,
    }  # fmt: skip
    if task is not None:
        if problem is not None:
            raise UserError(f"name a problem or --task, not both: {problem}, {task}")
        given["problem"] = task_name(task)
    settings = {key: value for key, value in given.items() if value is not None}
    if cassette is not None and config is None:
        # a cassette knows the run that it was taken from; what the user says wins
        settings = {**read_cassette(cassette)[0], "proposer": "replay", **settings}
    if config is None and "problem" not in settings:
        raise UserError(f"name a problem ({', '.join(registry.names())}), or a folder of your own with --task")
    resolved = RunConfig.load(config, **settings) if config else RunConfig.make(**settings)
    _follow(resolved.problem, resolved.out, lambda progress: session.start(resolved, on_status=progress.update))


def resume(run: Run) -> None:
    """Continue an interrupted run where its journal ends."""
    with Store(run) as store:
        if store.meta("status") == "finished":
            tables.console.print(f"{run}: finished; nothing to continue", markup=False)
            return
        problem = store.config.problem
    _follow(problem, run, lambda progress: session.resume(run, on_status=progress.update))


def replay(
    run: Run,
    out: Annotated[_Folder, typer.Option(help="The new run's folder; default RUN-replay.")] = None,
    workers: Annotated[int | None, typer.Option(help="Evaluations at once; default as recorded.")] = None,
) -> None:
    """Run a run again from its stored replies, with no network and no key; the archive must be the same."""
    config = session.replay_config(run, out=out, workers=workers)
    _follow(
        config.problem, config.out, lambda p: session.replay(run, out=config.out, workers=workers, on_status=p.update)
    )
    tables.show(f"replayed: the archive hash is that of {run}")


def cassette(
    run: Run,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("cassette.jsonl"),
) -> None:
    """Write the models' replies of a run as text, without keys; use it: evolve run --cassette FILE."""
    exclude = {"out", "cassette", "record", "api_base", "proposer", "max_usd", "max_tokens", "max_seconds", "price"}
    with Store(run) as store:
        settings = store.config.model_dump(mode="json", exclude_none=True, exclude={*exclude, "workers"})
        recordings = store.replies()
        if store.config.proposer == "mailbox":
            settings["model"] = ["mailbox"]
    if not recordings:
        raise UserError(f"{run}: no model was asked in this run; replay it as it is: evolve replay {run}")
    count = write_cassette(output, settings, recordings)
    use = f"use them: evolve run --cassette {output}"
    if not settings["deterministic"]:
        use = f"they came in an order that is in the run alone, so repeat it with: evolve replay {run}"
    tables.show(f"wrote {output}: {count} replies; {use}")


def _follow(problem_name: str, folder: Path | None, work: Callable[[Progress], Path]) -> None:
    """Show the progress of a run, then its report and champion."""
    problem = load_problem(problem_name)
    tables.show(f"run folder: {folder}")
    try:
        with Progress(problem) as progress:
            folder = work(progress)
    except KeyboardInterrupt:
        tables.show(f"\ninterrupted; everything evaluated is kept. Continue: evolve resume {folder}")
        raise
    with Store(folder) as store:
        champion, report = store.meta("champion"), store.meta("report")
        if report is not None:
            tables.show(*tables.report_tables(problem, report))
        tables.show(f"\nchampion: program {champion}\n{store.program(champion).source}")
    tables.show(f"inspect: evolve show {folder}    export: evolve export {folder} -o rule.py")
