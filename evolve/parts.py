"""What a run is made of, built from its settings: problem, budget, models, proposer, strategy, evaluator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from evaluators.evaluator import Evaluator
from evaluators.kinds import evaluator_of
from evaluators.sandbox.limits import Limits
from evolve import keys
from evolve.budget import Budget
from evolve.cassette import Recording, Replies, read_cassette
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.llm import LLM
from evolve.models import LLMConfig, per_model
from evolve.prices import Price, parse_prices
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.llm import OPERATORS, LLMProposer
from evolve.proposers.mailbox import MODEL as MAILBOX
from evolve.proposers.mailbox import MailboxProposer
from evolve.proposers.proposer import Proposer
from evolve.proposers.replay import ReplayProposer
from evolve.record import Record, RecordedEvaluator, recorded
from evolve.store import Store
from evolve.strategies import registry as strategies
from evolve.strategies.strategy import Offer, Strategy
from problems import registry
from problems.problem import Problem

# A slower machine must not run into a limit that the recorded one kept.
_REPLAY_PATIENCE = 10


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
    return Parts(
        problem, budget, _proposer(config, problem, budget), strategies.build(config.strategy, problem), record
    )


def build_evaluator(config: RunConfig, parts: Parts) -> Evaluator:
    """The evaluator of a run; a replay takes from its record what that machine measured."""
    patience = 1 if parts.record is None else _REPLAY_PATIENCE
    kind = evaluator_of(parts.problem)
    evaluator = (kind if parts.record is None else recorded(kind))(
        parts.problem,
        decoder=config.decoder,
        workers=config.workers,
        limits=Limits(timeout_s=config.timeout_s * patience, memory_bytes=config.memory_bytes),
        sets=config.own_instances,
        share=config.share,
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
        asked = LLM(LLMConfig(MAILBOX, max_output_tokens=config.max_reply_tokens))
        return MailboxProposer(problem, [asked], folder, operators=config.operators or OPERATORS)
    if config.key_file is not None and config.proposer == "llm":
        keys.load(config.key_file)
    # nothing is paid for where no model is asked
    prices = parse_prices(config.price) if config.proposer == "llm" else dict.fromkeys(config.model, Price(0.0, 0.0))
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
    chosen = config.operators or OPERATORS
    proposer: LLMProposer
    if config.proposer == "llm":
        proposer = LLMProposer(problem, models, operators=chosen, weights=weights)
    else:
        proposer = ReplayProposer(problem, models, operators=chosen, weights=weights)
        proposer.cassette = Replies(_recordings(config))
    proposer.models, proposer.strong = offers(config)
    return proposer


def offers(config: RunConfig) -> tuple[dict[str, Offer], str]:
    """The models that a strategy may choose from, and the strong one: else the dearest in use, if any is dearer."""
    weights = per_model("weight", config.weight, config.model)
    usd = per_model("call_usd", config.call_usd, config.model)
    found = {model: Offer(usd.get(model, 1.0), weights.get(model, 1.0)) for model in config.model}
    used = {model: offer.usd for model, offer in found.items() if offer.weight > 0}
    dearest = max(used, key=lambda model: used[model], default="")
    return found, config.strong_model or (dearest if len(set(used.values())) > 1 else "")


def _recordings(config: RunConfig) -> list[Recording]:
    if config.cassette is not None:
        settings, recordings = read_cassette(config.cassette)
        if not settings.get("deterministic", True):
            raise UserError(
                f"{config.cassette}: its run told programs in the order in which replies came, which a cassette does "
                "not hold: repeat that run with evolve replay RUN, or record one with --deterministic"
            )
        return recordings
    assert config.record is not None
    with Store(config.record) as store:
        return store.replies()
