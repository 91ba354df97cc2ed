"""The relay hands over on a plateau."""

from stories import ok, problem

from evolve.strategies.relay import Relay, RelayConfig


def test_the_next_strategy_runs_after_a_plateau_and_gains_keep_the_first():
    strategy = Relay(problem(), RelayConfig(patience=3))
    running = []
    for number, cost in enumerate([5.0, 4.0, 9.0, 9.0, 9.0, 3.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]):
        strategy.tell(ok(number, cost))
        running.append(strategy.state()["running"])
    assert running == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0]


def test_every_leg_hears_of_every_candidate():
    strategy = Relay(problem())
    for number in range(10):
        strategy.tell(ok(number, float(number)))
    assert [leg["told"] for leg in strategy.state()["legs"]] == [10, 10, 10]
