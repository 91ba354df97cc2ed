"""Settings are checked once, at the border, and every error names the setting."""

import pytest

from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.parts import offers
from evolve.strategies.strategy import Offer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"evaluations": -5}, "evaluations: must be at least 1, got -5"),
        ({"max_usd": -1.0}, "max_usd: must be positive and finite, got -1.0"),
        ({"max_usd": float("nan")}, "max_usd: must be positive and finite, got nan"),
        ({"max_seconds": 0}, "max_seconds: must be positive"),
        ({"sigma": 0.0}, "sigma: must be above 0 and at most 1, got 0.0"),
        ({"share": 1.5}, "share: must be above 0 and at most 1, got 1.5"),
        ({"seed": -1}, "seed: must not be negative, got -1"),
        ({"workers": 0}, "workers: must be at least 1, got 0"),
        ({"decoder": "magic"}, "unknown decoder 'magic'"),
        ({"proposer": "llm"}, "needs a model"),
        ({"proposer": "genetic", "model": ("openai/x",)}, "uses no model"),
        ({"train": "no/such/folder"}, "--train .*no/such/folder: no such file"),
        ({"strategy": "gredy"}, "did you mean 'greedy'"),
        ({"colour": "red"}, "colour"),
        (
            {"strong_model": "openai/x"},
            "--strong-model openai/x: it stands beside another model: name one with --model",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule_and_value(settings, said):
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        RunConfig.make(problem="shop/job_shop", **settings).check_files()


def test_an_unknown_problem_suggests_the_closest_name():
    with pytest.raises(UserError, match="did you mean 'shop/job_shop'"):
        RunConfig.make(problem="shop/jobshop")


def test_naming_a_model_chooses_the_llm_proposer():
    assert RunConfig.make(problem="shop/job_shop", model=("openai/x",)).proposer == "llm"
    assert RunConfig.make(problem="shop/job_shop").proposer == "genetic"


def test_a_saved_run_file_reads_back_as_the_same_settings(tmp_path):
    config = RunConfig.make(problem="shop/job_shop", seed=7, max_usd=2.5, out=tmp_path / "run")
    config.save(tmp_path / "run.toml", {"numba": "1.0"})
    assert RunConfig.load(tmp_path / "run.toml") == config


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('problem = "shop/job_shop"\nseed = 3\nevaluations = 10\n')
    config = RunConfig.load(path, seed=4)
    assert (config.seed, config.evaluations) == (4, 10)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("problem = [")
    with pytest.raises(UserError, match=r"settings\.toml: not a TOML file"):
        RunConfig.load(path)


def test_a_strong_model_that_is_not_named_besides_is_kept_for_redesigns():
    config = RunConfig.make(problem="shop/job_shop", model=("a",), strong_model="b", price=("a=1,2", "b=10,20"))
    assert config.model == ("a", "b")
    assert config.weight == ("b=0",)
    named = RunConfig.make(problem="shop/job_shop", model=("a", "b"), strong_model="b")
    assert (named.model, named.weight) == (("a", "b"), ())


def test_what_calls_reserve_is_found_once_and_kept():
    settings = {"problem": "shop/job_shop", "model": ("a", "b"), "max_reply_tokens": 1000}
    # 16,000 tokens in and 1,000 out
    config = RunConfig.make(**settings, price=("a=1,4", "b=10,40"))
    assert config.call_usd == ("a=0.02", "b=0.2")
    assert offers(config) == ({"a": Offer(0.02, 1.0), "b": Offer(0.2, 1.0)}, "b")
    assert RunConfig.make(**settings).call_usd == ("a=1", "b=1")
    assert offers(RunConfig.make(**settings))[1] == ""
    assert RunConfig.make(**settings, call_usd=config.call_usd).call_usd == config.call_usd
    other = RunConfig.make(problem="shop/job_shop", model=("a", "c"), call_usd=config.call_usd)
    assert other.call_usd == ("a=1", "c=1")
    free = RunConfig.make(**settings, price=("a=0,0", "b=10,40"))
    assert free.call_usd == ("a=0.01", "b=0.2")


def test_a_reserve_is_the_strong_model_only_if_it_is_named_so():
    settings = {"problem": "shop/job_shop", "model": ("a", "b"), "weight": ("b=0",), "price": ("a=1,4", "b=10,40")}
    assert offers(RunConfig.make(**settings))[1] == ""
    assert offers(RunConfig.make(**settings, strong_model="b"))[1] == "b"


def test_a_strategy_says_what_it_wants_models_to_be_asked_unless_its_user_does():
    settings = {"problem": "shop/job_shop", "strategy": "portfolio"}
    assert "redesign" in RunConfig.make(**settings, model=("a",)).operators
    assert RunConfig.make(**settings, model=("a",), operators=("diff",)).operators == ("diff",)
    assert RunConfig.make(**settings).operators == ()


def test_a_run_from_before_strategies_had_a_say_keeps_the_operators_it_had(tmp_path):
    said = 'problem = "shop/job_shop"\nstrategy = "portfolio"\nproposer = "llm"\nmodel = ["a"]\noperators = []\n'
    (tmp_path / "run.toml").write_text(said)
    config = RunConfig.of_run(tmp_path)
    assert config.operators == ("rewrite", "diff")
    assert not config.repair
