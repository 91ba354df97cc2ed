"""Strategies by name, with settings."""

import pytest

from evolve.errors import UserError
from evolve.strategies import registry
from evolve.strategies.portfolio import PortfolioConfig
from problems import registry as problems

PROBLEM = problems.load("machine/total_tardiness")


def test_a_name_alone_stands_for_the_default_settings():
    assert registry.build("portfolio", PROBLEM)._config == PortfolioConfig()


def test_settings_after_the_name_are_taken_in_their_types():
    config = registry.build("portfolio:nursery=0,population=7", PROBLEM)._config
    assert config == PortfolioConfig(nursery=0.0, population=7)
    assert isinstance(config.population, int)


@pytest.mark.parametrize("name", registry.names())
def test_every_strategy_with_settings_takes_them(name):
    module = __import__(f"evolve.strategies.{name}", fromlist=[name])
    config = next((value for key, value in vars(module).items() if key.endswith("Config")), None)
    if config is None:
        with pytest.raises(UserError, match="has no settings"):
            registry.build(f"{name}:patience=3", PROBLEM)
    else:
        first, value = next(iter(vars(config()).items()))
        registry.build(f"{name}:{first}={value}", PROBLEM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("portfolo:nursery=0", "unknown strategy"),
        ("portfolio:nursry=0", "did you mean 'nursery'"),
        ("portfolio:nursery", "nursery must be a number, got ''"),
        ("portfolio:population=2.5", "population must be an integer, got '2.5'"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(UserError, match=message):
        registry.build(text, PROBLEM)
