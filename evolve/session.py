"""Start, continue, replay and end runs."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluators.evaluator import Evaluator, SandboxUnavailable
from evaluators.outcome import Ok, Rejected
from evolve import report
from evolve.cassette import Recording, Replies
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.llm import LLMFatal
from evolve.loop import Search, Status
from evolve.operators import is_tuned
from evolve.parts import Parts, build_evaluator, prepare
from evolve.proposers.llm import LLMProposer
from evolve.proposers.mailbox import MODEL as MAILBOX
from evolve.simplification import ORIGIN, simplify_champion
from evolve.store import Store


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
        _probe(build_evaluator(config, parts), config.trust_evaluator)
    with Store.create(config, versions()) as store:
        try:
            _drive(store, parts, on_status)
        except SandboxUnavailable:  # nothing was run: a second try finds no folder in its way
            shutil.rmtree(store.folder)
            raise
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
        templates = store.templates
        settings = store.config.model_dump(exclude_none=True, exclude={"max_usd", "max_tokens", "max_seconds", "price"})
    if settings["proposer"] == "mailbox":
        settings["model"] = (MAILBOX,)
    if settings["proposer"] != "genetic":
        settings["proposer"] = "replay"
    settings.pop("cassette", None)
    settings["prompts"] = templates
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

    def send(self, program: int, worst: Mapping[str, Any]) -> None:
        if program < 0:
            return
        with self._store.transaction():
            if worst:
                self._store.add_send(program, worst)
            else:
                self._store.drop_send(program)

    def lose(self, program: int, spend: Mapping[str, Any] | None = None) -> None:
        with self._store.transaction():
            if spend is None:
                self._store.book_sends(program)
                return
            self._store.drop_send(program)
            if spend:
                self._store.add_spend(program, spend)

    def keep(self, recording: Recording, spend: Mapping[str, Any]) -> None:
        with self._store.transaction():
            self._store.add_reply(recording)
            self._store.drop_send(recording.program)
            if spend:
                # the text is in the recording
                self._store.add_spend(recording.program, {**spend, "reply": ""})
        super().keep(recording, spend)


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
    with store.transaction():
        # calls under way when an earlier session was killed may have been charged
        store.book_sends()
    parts.budget.restore(_spent(store))
    if isinstance(parts.proposer, LLMProposer):
        parts.proposer.replies = _Journal(store)
        parts.proposer.templates = store.templates
    evaluator = build_evaluator(config, parts)
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
        if config.report:
            shorter = await simplify_champion(search) if config.simplify else None
            store.set_meta("report", await report.assess(search, shorter))
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
    from evaluators.tasks import exploits

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


def _spent(store: Store) -> dict[str, float]:
    """What earlier sessions of a run spent, from its journal."""
    outcomes = store.outcomes("train")
    free = {p.id for p in store.programs() if p.origin in ("baseline", ORIGIN)}
    evaluations = sum(not isinstance(o, Rejected) for number, o in outcomes.items() if number not in free)
    tuned = sum(is_tuned(p) for p in store.programs() if p.source and p.id in outcomes and p.id not in free)
    evaluations += (store.config.tuning or 0) * tuned
    totals = store.spend().values()
    input_tokens, output_tokens = (sum(t[name] for t in totals) for name in ("input_tokens", "output_tokens"))
    return {
        "evaluations": evaluations,
        "llm_calls": sum(t["calls"] for t in totals),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "tokens": input_tokens + output_tokens,
        "usd": sum(t["usd"] for t in totals),
        "seconds": store.meta("elapsed_s", 0.0),
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
