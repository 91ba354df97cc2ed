"""Settings are checked once, at the border, and every error names the setting."""

import pytest

from evolve.config import RunConfig
from evolve.errors import UserError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"evaluations": -5}, "evaluations: must be at least 1, got -5"),
        ({"max_usd": -1.0}, "max_usd: must be positive and finite, got -1.0"),
        ({"max_usd": float("nan")}, "max_usd: must be positive and finite, got nan"),
        ({"max_seconds": 0}, "max_seconds: must be positive"),
        ({"seed": -1}, "seed: must not be negative, got -1"),
        ({"workers": 0}, "workers: must be at least 1, got 0"),
        ({"decoder": "magic"}, "unknown decoder 'magic'"),
        ({"proposer": "llm"}, "needs a model"),
        ({"proposer": "genetic", "model": ("openai/x",)}, "uses no model"),
        ({"train": "no/such/folder"}, "--train .*no/such/folder: no such file"),
        ({"strategy": "gredy"}, "did you mean 'greedy'"),
        ({"colour": "red"}, "colour"),
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
