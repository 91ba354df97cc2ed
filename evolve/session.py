"""Start, continue and end runs: builds what the loop needs from a run's settings."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluators.evaluator import Evaluator
from evaluators.kinds import evaluator_of
from evaluators.limits import Limits
from evaluators.outcome import Ok, Rejected
from evolve import keys, report
from evolve.budget import Budget
from evolve.cassette import Recording, Replies, read_cassette
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.llm import LLM, LLMFatal
from evolve.loop import Search, Status
from evolve.models import LLMConfig, per_model
from evolve.prices import parse_prices
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.llm import LLMProposer
from evolve.proposers.mailbox import MODEL as MAILBOX
from evolve.proposers.mailbox import MailboxProposer
from evolve.proposers.proposer import Proposer
from evolve.proposers.replay import ReplayProposer
from evolve.record import Record, RecordedEvaluator, recorded
from evolve.store import Store
from evolve.strategies import registry as strategies
from evolve.strategies.strategy import Strategy
from problems import registry
from problems.problem import Problem

# A slower machine must not run into a limit that the recorded one kept.
_REPLAY_PATIENCE = 10


def run(problem: str, *, on_status: Callable[[Status], None] | None = None, **settings: Any) -> Path:
    """Run a search to its end and return the run's folder.

    Parameters
    ----------
    problem : str
        A problem's name, e.g. ``shop/job_shop``.
    on_status : callable, optional
        Called with a Status after every candidate.
    **settings
        Any setting of RunConfig: evaluations, model, seed, out, ...

    Raises
    ------
    UserError
        If a setting is wrong, the folder cannot be written or the sandbox is incomplete.
    """
    return start(RunConfig.make(problem=problem, **settings), on_status=on_status)


def start(config: RunConfig, *, on_status: Callable[[Status], None] | None = None) -> Path:
    """Run resolved settings in a new folder."""
    parts = prepare(config)
    if parts.problem.task is not None and parts.record is None:
        _probe(_evaluator(config, parts), config.trust_evaluator)
    with Store.create(config, versions()) as store:
        _drive(store, parts, on_status)
        return store.folder


def resume(folder: Path, *, on_status: Callable[[Status], None] | None = None) -> Path:
    """Continue an interrupted run where its journal ends; a finished run is left alone."""
    with Store(folder, writable=True) as store:
        if store.meta("status") != "finished":
            _drive(store, prepare(store.config), on_status)
    return folder


def replay(
    folder: Path,
    *,
    out: Path | None = None,
    workers: int | None = None,
    on_status: Callable[[Status], None] | None = None,
) -> Path:
    """Run a run again, with no network and no key, and return the new run's folder.

    Raises
    ------
    UserError
        If a prompt differs from the recorded one, or the archive hash does.
    """
    config = replay_config(folder, out=out, workers=workers)
    found = start(config, on_status=on_status)
    with Store(folder) as recorded, Store(found) as replayed:
        chains = [store.chain() for store in (recorded, replayed)]
        hashes = [store.archive_hash() for store in (recorded, replayed)]
        if hashes[0] != hashes[1]:
            told = [store.tells() for store in (recorded, replayed)]
            part = next((k for k, pair in enumerate(zip(*chains, strict=False)) if pair[0] != pair[1]), None)
            where = "one told more" if part is None else f"they part at program {told[0][part]} ({told[1][part]} here)"
            raise UserError(f"{found}: archive hash {hashes[1]}, recorded {hashes[0]}: {where}; see evolve diff")
    return found


def replay_config(folder: Path, *, out: Path | None = None, workers: int | None = None) -> RunConfig:
    """The settings with which a run is replayed."""
    with Store(folder) as store:
        settings = store.config.model_dump(exclude_none=True, exclude={"max_usd", "max_tokens", "max_seconds", "price"})
    if settings["proposer"] == "mailbox":
        settings["model"] = (MAILBOX,)
    if settings["proposer"] != "genetic":
        settings["proposer"] = "replay"
    settings.pop("cassette", None)
    settings["out"] = out or _beside(folder)
    settings["workers"] = workers or settings["workers"]
    return RunConfig.make(**{**settings, "record": folder})


def _beside(folder: Path) -> Path:
    found, n = folder.with_name(f"{folder.name}-replay"), 1
    while found.exists():
        found, n = folder.with_name(f"{folder.name}-replay-{n}"), n + 1
    return found


class _Journal(Replies):
    """Replies in a run's journal; what a reply cost is written in the same transaction."""

    journals = True

    def __init__(self, store: Store) -> None:
        super().__init__(store.replies())
        self._store = store

    def keep(self, recording: Recording, spend: Mapping[str, Any]) -> None:
        with self._store.transaction():
            self._store.add_reply(recording)
            if spend:
                # the text is in the recording
                self._store.add_spend(recording.program, {**spend, "reply": ""})
        super().keep(recording, spend)


@dataclass(frozen=True)
class Parts:
    """What is built, and may be refused, before a run's folder is made."""

    problem: Problem
    budget: Budget
    proposer: Proposer
    strategy: Strategy
    record: Record | None


def prepare(config: RunConfig) -> Parts:
    """Build problem, budget, proposer and strategy of a run.

    Raises
    ------
    UserError
        If a model's settings are unusable, e.g. a dollar cap without a known price.
    BadInstance
        If a file of the user's own instances breaks its format.
    """
    config.check_files()
    problem = registry.load(config.problem)
    for path in config.own_instances.values():
        problem.read(path)
    # a replay evaluates what its record did, imports included
    limits = config.limits if config.record is None else replace(config.limits, evaluations=None)
    budget = Budget(limits)
    record = None if config.record is None else Record(config.record)
    return Parts(problem, budget, _proposer(config, problem, budget), strategies.load(config.strategy)(problem), record)


def _drive(store: Store, parts: Parts, on_status: Callable[[Status], None] | None) -> None:
    """Run the search of an open store; whatever ends it, the journal says so."""
    store.set_meta("status", "running")
    try:
        asyncio.run(_search(store, parts, on_status or (lambda status: None)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        store.set_meta("status", "interrupted")
        raise KeyboardInterrupt from None
    except LLMFatal as error:
        store.set_meta("status", f"stopped: {error}")
        raise UserError(f"{error}; the run is kept, continue it with: evolve resume {store.folder}") from None
    finally:
        if store.meta("status") == "running":
            store.set_meta("status", "failed")


async def _search(store: Store, parts: Parts, on_status: Callable[[Status], None]) -> None:
    config = store.config
    parts.budget.restore(_spent(store))
    if isinstance(parts.proposer, LLMProposer):
        parts.proposer.replies = _Journal(store)
    evaluator = _evaluator(config, parts)
    try:
        # both take seconds, in different processes
        await asyncio.gather(evaluator.start(), parts.proposer.prepare())
        search = Search(
            store=store,
            problem=parts.problem,
            evaluator=evaluator,
            proposer=parts.proposer,
            strategy=parts.strategy,
            budget=parts.budget,
            record=parts.record,
            on_status=on_status,
        )
        await search.run()
        store.set_meta("report", await report.assess(search))
        store.set_meta("status", search.stopped or "finished")
    finally:
        await parts.proposer.close()
        await evaluator.close()


def _probe(evaluator: Evaluator, trusted: bool) -> None:
    """Refuse a task whose evaluator does not work, or rewards what it should not.

    Raises
    ------
    UserError
        Naming the exploit and the way out.
    """
    # late: it imports the compiler
    from evaluators import exploits

    assert isinstance(evaluator, exploits.ExternalEvaluator)
    first, *found = asyncio.run(exploits.throw(evaluator, all_of_them=not trusted))
    folder = evaluator.problem.name.removeprefix("task:")
    if first.outcome != Ok.kind:
        raise UserError(f"{folder}: the initial program has no score: {first.outcome} at {first.detail}")
    if exploited := [finding for finding in found if finding.exploits]:
        score, bar = exploited[0].score, first.score
        raise UserError(
            f"{folder}: the evaluator {exploited[0].detail}: the probe {exploited[0].probe!r} scores {score:.6g}, the "
            f"initial program {bar:.6g} ({len(exploited)} exploits in all; see: evolve doctor --task {folder}); mend "
            "the evaluator, or run it as it is with --trust-evaluator"
        )


def _evaluator(config: RunConfig, parts: Parts) -> Evaluator:
    patience = 1 if parts.record is None else _REPLAY_PATIENCE
    kind = evaluator_of(parts.problem)
    evaluator = (kind if parts.record is None else recorded(kind))(
        parts.problem,
        decoder=config.decoder,
        workers=config.workers,
        limits=Limits(timeout_s=config.timeout_s * patience, memory_bytes=config.memory_bytes),
        sets=config.own_instances,
        allow_weak_sandbox=config.allow_weak_sandbox,
    )
    if isinstance(evaluator, RecordedEvaluator) and parts.record is not None:
        evaluator.record = parts.record
    return evaluator


def _proposer(config: RunConfig, problem: Problem, budget: Budget) -> Proposer:
    if config.proposer == "genetic":
        return GeneticProposer(problem)
    if config.proposer == "mailbox":
        folder = config.out / "mailbox" if config.out is not None else Path("mailbox")
        return MailboxProposer(problem, [LLM(LLMConfig(MAILBOX, max_output_tokens=config.max_reply_tokens))], folder)
    if config.key_file is not None and config.proposer == "llm":
        keys.load(config.key_file)
    # nothing is paid for where no model is asked
    prices = parse_prices(config.price) if config.proposer == "llm" else dict.fromkeys(config.model, (0.0, 0.0))
    paces = per_model("requests_per_minute", config.requests_per_minute, config.model)
    slots = per_model("concurrency", config.concurrency, config.model, whole=True)
    given = per_model("weight", config.weight, config.model)
    weights = [given.get(model, 1.0) for model in config.model]
    if not any(weights):
        raise UserError("--weight: at least one model needs a weight above 0")
    models = [
        LLM(
            LLMConfig(
                model=model,
                api_base=config.api_base,
                temperature=config.temperature,
                reasoning_effort=config.reasoning_effort,
                max_output_tokens=config.max_reply_tokens,
                timeout_s=config.llm_timeout_s,
                concurrency=int(slots.get(model, LLMConfig.concurrency)),
                requests_per_minute=paces.get(model),
            ),
            budget=budget,
            prices=prices,
        )
        for model in config.model
    ]
    if config.proposer == "llm":
        return LLMProposer(problem, models, weights=weights)
    proposer = ReplayProposer(problem, models, weights=weights)
    proposer.cassette = Replies(_recordings(config))
    return proposer


def _recordings(config: RunConfig) -> list[Recording]:
    if config.cassette is not None:
        return read_cassette(config.cassette)[1]
    assert config.record is not None
    with Store(config.record) as store:
        return store.replies()


def _spent(store: Store) -> dict[str, float]:
    """What earlier sessions of a run spent, from its journal."""
    outcomes = store.outcomes("train")
    baselines = {p.id for p in store.programs() if p.origin == "baseline"}
    evaluations = sum(not isinstance(o, Rejected) for number, o in outcomes.items() if number not in baselines)
    totals = store.spend().values()
    input_tokens, output_tokens = (sum(t[name] for t in totals) for name in ("input_tokens", "output_tokens"))
    return {
        "evaluations": evaluations,
        "llm_calls": sum(t["calls"] for t in totals),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "tokens": input_tokens + output_tokens,
        "usd": sum(t["usd"] for t in totals),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on, and the machine."""
    packages = {name: metadata.version(name) for name in ("evolve-scheduling", "numba", "llvmlite", "numpy")}
    return {
        **packages,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
    }
