"""One run = one TOML file: frozen, typed settings, read once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pydantic
import tomli_w

from evaluators.racing import ALPHA
from evaluators.sampling import SIGMA
from evaluators.sandbox.limits import available_cores
from evolve.amounts import BudgetLimits
from evolve.consistency import check
from evolve.errors import UserError
from evolve.operators import OFFERED
from evolve.prices import call_usd, parse_prices
from evolve.strategies import registry as strategies
from evolve.strategies.strategy import Strategy
from problems import registry
from problems.problem import Problem

# Chosen so that the default run of shop/job_shop takes about three minutes on two cores
# (benchmarks/seeds.py prints the seconds); an LLM's evaluations are bounded by money and patience instead.
DEFAULT_EVALUATIONS = {"genetic": 3000, "llm": 200, "replay": 200, "mailbox": 50}
_DETERMINISTIC = {"genetic": True, "llm": False, "replay": True, "mailbox": False}
DEFAULT_STRATEGY = "steady_state"  # no other was found to be better: docs/strategies.md
# How many proposals may be under way beyond the last one told. Fixed, and not the number of
# workers, so that a run's archive does not depend on the machine.
WINDOW = 16
# Where constants are tuned, so that other cores have work while one attempt tunes for seconds.
TUNING_WINDOW = 48


class RunConfig(pydantic.BaseModel):
    """Settings of one run; ``run.toml`` holds them resolved."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    problem: str
    out: Path | None = None  # the run's folder; default runs/<problem>-<time>
    decoder: str | None = None  # None: the problem's default
    # None: llm if a model is named, replay if a cassette is
    proposer: Literal["genetic", "llm", "mailbox", "replay"] | None = None
    strategy: str = DEFAULT_STRATEGY
    operators: tuple[str, ...] = ()  # that models are asked for; () stands for rewrite and diff
    # ask once more for a model's program that is not admitted or does not compile; None: with the proposer llm
    repair: bool | None = None
    prompts: Path | None = None  # folder of templates that come before ours; copied into the run's folder
    model: tuple[str, ...] = ()  # litellm model strings; one is drawn for each proposal
    weight: tuple[str, ...] = ()  # MODEL=NUMBER: how often it is drawn; 1 where nothing is said
    strong_model: str | None = None  # for redesigns on a plateau; None: the one whose calls reserve most
    # MODEL=NUMBER: dollars that a call reserves, as the strategy is told; found when the run begins, so
    # that another table of prices does not change how it goes on
    call_usd: tuple[str, ...] = ()
    concurrency: tuple[str, ...] = ()  # requests at once, NUMBER for each model or MODEL=NUMBER
    requests_per_minute: tuple[str, ...] = ()  # likewise
    key_file: Path | None = None  # NAME=value lines, for the user's eyes only
    api_base: str | None = None  # an OpenAI-compatible server
    temperature: float | None = None
    reasoning_effort: str | None = None
    price: tuple[str, ...] = ()  # MODEL=IN,OUT in dollars per million tokens
    cassette: Path | None = None  # replies for the proposer replay
    record: Path | None = None  # the run that this one replays
    # whether candidates are told in the order of their proposals, whoever finishes first; None: with
    # the proposers genetic and replay
    deterministic: bool | None = None
    evaluations: int | None = None
    max_usd: float | None = None
    max_calls: int | None = None  # answers of models that are paid for
    max_tokens: int | None = None  # input and output together
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None  # of the run; reasoning included
    max_seconds: float | None = None
    report: bool = True  # read test and the shift suites at the end; what only compares searches does not
    simplify: bool = True  # the champion at the end, without a change of its decisions on train and valid
    # evaluations' worth of simulations for each tuning of constants; 0: none; None: a 75th of all with the
    # proposer genetic, else none
    tuning: int | None = None
    sigma: float = SIGMA  # of the first distribution of a tuning, in shares of the bounds
    race: bool = False  # drop what is clearly worse before all of train was run
    alpha: float = ALPHA  # of races: how often a candidate as good as its opponent may be dropped
    seed: int = 0
    workers: int | None = None  # evaluations at once; None: one per core
    timeout_s: float = 10.0  # wall clock of one evaluation
    memory_bytes: int = 2 * 2**30  # of one evaluation, beyond what the evaluator itself maps
    llm_timeout_s: float = 300.0  # wall clock of one LLM call, retries included
    max_reply_tokens: int = 8192  # output tokens of one LLM call, reasoning included
    share: float = 1.0  # of train and valid, of each group the same; less makes every evaluation cheaper
    train: Path | None = None  # the user's own instances instead of the problem's
    valid: Path | None = None
    test: Path | None = None
    allow_weak_sandbox: bool = False
    trust_evaluator: bool = False  # of a task: do not probe it for exploits first

    @pydantic.field_validator(
        "evaluations", "max_calls", "max_tokens", "max_input_tokens", "max_output_tokens", "max_reply_tokens",
        "workers", "memory_bytes",
    )  # fmt: skip
    @classmethod
    def _positive_count(cls, value: int | None) -> int | None:
        if value is not None and value <= 0:
            raise ValueError(f"must be at least 1, got {value}")
        return value

    @pydantic.field_validator("max_usd", "max_seconds", "timeout_s", "llm_timeout_s")
    @classmethod
    def _positive_amount(cls, value: float | None) -> float | None:
        if value is not None and (not math.isfinite(value) or value <= 0):
            raise ValueError(f"must be positive and finite, got {value}")
        return value

    @pydantic.field_validator("alpha")
    @classmethod
    def _error_rate(cls, value: float) -> float:
        if not 0.0 < value < 0.5:
            raise ValueError(f"must be above 0 and below 0.5, got {value}")
        return value

    @pydantic.field_validator("share", "sigma")
    @classmethod
    def _part(cls, value: float) -> float:
        if not 0.0 < value <= 1.0:
            raise ValueError(f"must be above 0 and at most 1, got {value}")
        return value

    @pydantic.field_validator("seed")
    @classmethod
    def _seed(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"must not be negative, got {value}")
        return value

    @classmethod
    def make(cls, **settings: Any) -> RunConfig:
        """Check settings given by a user and resolve what depends on others.

        Raises
        ------
        UserError
            Naming the first setting that is wrong, the rule and the value.
        """
        return cls._checked(settings)._resolved()

    @classmethod
    def _checked(cls, settings: dict[str, Any]) -> RunConfig:
        try:
            return cls(**settings)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "settings"
            raise UserError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None

    def check_files(self) -> None:
        """Refuse named files that are not there; a run can be looked into without them."""
        for name, path in self._files.items():
            if not path.exists():
                raise UserError(f"--{name} {path}: no such file or folder")

    def _resolved(self) -> RunConfig:
        proposer = self.proposer or ("replay" if self.cassette else "llm" if self.model else "genetic")
        try:
            problem = registry.load(self.problem)
            strategy = strategies.build(self.strategy, problem)
        except (registry.UnknownProblem, strategies.UnknownStrategy) as error:
            raise UserError(str(error)) from None
        if self.race and strategy.opponent is None:
            raise UserError(f"race: strategy {self.strategy} has a use for every candidate: leave out --race")
        check(self, problem, proposer)
        models, weights = self._with_strong(proposer)
        decoder = self.decoder or problem.default_decoder
        if decoder not in problem.simulators:
            raise UserError(registry.unknown("decoder", decoder, problem.simulators))
        return self.model_copy(
            update={
                "proposer": proposer,
                "decoder": decoder,
                "repair": proposer == "llm" if self.repair is None else self.repair,
                "model": models,
                "weight": weights,
                "call_usd": self._call_usd(proposer, models),
                "operators": self.operators or (() if proposer == "genetic" else strategy.operators),
                "deterministic": self.deterministic
                or (proposer in ("genetic", "replay") and self.deterministic is None),
                "evaluations": self.evaluations or DEFAULT_EVALUATIONS[proposer],
                "tuning": self._tuning(problem, proposer, strategy),
                "workers": self.workers or available_cores(),
                "out": self.out or _fresh_folder(problem.name),
                # a run may be resumed or replayed from another folder
                **{name: path.absolute() for name, path in self._files.items()},
            }
        )

    def _with_strong(self, proposer: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Models and weights, with the strong model: one that was not named besides is for redesigns alone."""
        if self.strong_model is None or self.strong_model in self.model:
            return self.model, self.weight
        if proposer not in ("llm", "replay") or not self.model:
            raise UserError(
                f"--strong-model {self.strong_model}: it stands beside another model: name one with --model"
            )
        return (*self.model, self.strong_model), (*self.weight, f"{self.strong_model}=0")

    def _call_usd(self, proposer: str, models: Sequence[str]) -> tuple[str, ...]:
        if [text.rpartition("=")[0] for text in self.call_usd] == list(models):
            return self.call_usd  # of the run whose settings these are
        if proposer != "llm" or len(models) < 2:
            return ()
        dollars = call_usd(models, parse_prices(self.price), self.max_reply_tokens)
        return tuple(f"{model}={usd:.6g}" for model, usd in dollars.items())

    def _tuning(self, problem: Problem, proposer: str, strategy: Strategy) -> int:
        """Evaluations for each tuning; never more than a tenth of all."""
        evaluations = self.evaluations or DEFAULT_EVALUATIONS[proposer]
        possible = strategy.tunes and problem.form == "hooks" and problem.primary.kind != "decision_time"
        if self.tuning is None:
            return evaluations // 75 if possible and proposer == "genetic" else 0
        if self.tuning and not possible:
            raise UserError(f"tuning: {self.problem} with strategy {self.strategy} has nothing to tune: leave it out")
        if not 0 <= self.tuning <= evaluations // 10:
            raise UserError(f"tuning must be 0 to a tenth of the {evaluations} evaluations, got {self.tuning}")
        return self.tuning

    @classmethod
    def load(cls, path: Path, **overrides: Any) -> RunConfig:
        """Read a TOML file of settings; overrides that are not None win."""
        return cls.make(**{**_read(path), **{k: v for k, v in overrides.items() if v is not None}})

    @classmethod
    def of_run(cls, folder: Path) -> RunConfig:
        """The settings of a run, resolved when it began; its problem is not imported for that."""
        config = cls._checked({**_read(folder / "run.toml"), "out": folder})
        # run.toml of older versions does not say
        told_in_order = _DETERMINISTIC[config.proposer or "genetic"]
        if not config.operators and config.proposer != "genetic":
            # then no strategy had a say in them
            config = config.model_copy(update={"operators": OFFERED})
        return (
            config if config.deterministic is not None else config.model_copy(update={"deterministic": told_in_order})
        )

    def save(self, path: Path, versions: dict[str, str]) -> None:
        """Write the settings and the versions they ran with as TOML."""
        settings = self.model_dump(mode="json", exclude_none=True)
        path.write_text(tomli_w.dumps({**settings, "versions": versions}))

    @property
    def limits(self) -> BudgetLimits:
        """The caps of the run."""
        return BudgetLimits(
            evaluations=self.evaluations,
            llm_calls=self.max_calls,
            input_tokens=self.max_input_tokens,
            output_tokens=self.max_output_tokens,
            tokens=self.max_tokens,
            usd=self.max_usd,
            seconds=self.max_seconds,
        )

    @property
    def _files(self) -> dict[str, Path]:
        return self.own_instances | {
            n: p for n in ("cassette", "record", "prompts") if (p := getattr(self, n)) is not None
        }

    @property
    def own_instances(self) -> dict[str, Path]:
        """Splits that the user's own files replace."""
        paths = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: path for name, path in paths.items() if path is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    # run.toml also records versions; they are no settings
    settings.pop("versions", None)
    return settings


def _fresh_folder(problem: str) -> Path:
    stem = f"{problem.split('/')[-1]}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, n = Path("runs") / stem, 1
    while folder.exists():
        folder, n = Path("runs") / f"{stem}-{n}", n + 1
    return folder
