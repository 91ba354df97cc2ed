"""Adaptive islands: they notice when nothing moves."""

from stories import ok, problem

from evolve.strategies.adaptive_islands import AdaptiveIslands, AdaptiveIslandsConfig


def run(stalled, **settings):
    """Two starts, one gain, then so many children that gain nothing."""
    strategy = AdaptiveIslands(problem(), AdaptiveIslandsConfig(**settings))
    for candidate in [ok(0, 5.0), ok(1, 4.0), ok(2, 3.0, parents=(0,))]:
        strategy.tell(candidate)
    for number in range(3, 3 + stalled):
        strategy.tell(ok(number, 50.0, parents=(number % 2,)))
    return strategy


def signals(strategy):
    return [island["signal"] for island in strategy.state()["islands"]]


def test_stagnation_lowers_the_signal_of_every_island():
    # F6: 500 candidates without gain left the published code's signal where it was
    before, after = signals(run(0, patience=10**6)), signals(run(500, patience=10**6))
    assert all(late < 1e-6 < early for early, late in zip(before, after, strict=True))


def test_a_stalled_island_explores_more():
    strategy = run(0, patience=10**6)
    early = strategy._intensity(strategy._islands[0])
    for number in range(3, 100):
        strategy.tell(ok(number, 50.0, parents=(0,)))
    assert early < strategy._intensity(strategy._islands[0]) <= 0.5


def test_a_stall_founds_islands_up_to_the_limit():
    counts = [len(signals(run(stalled, patience=10, most=4))) for stalled in (9, 10, 20, 90)]
    assert counts == [2, 3, 4, 4]


def test_gains_make_an_island_more_attractive():
    strategy = run(0)
    home = strategy._home[2]
    strategy.tell(ok(3, 9.0, parents=(1,)))
    other = strategy._home[3]
    assert home != other
    bounds = [strategy._bound(island) for island in strategy._islands]
    assert bounds[home] > bounds[other]
