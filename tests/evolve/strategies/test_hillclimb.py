"""Hill climbing: what is climbed, and when it starts again."""

from stories import asked, ok, problem

from evolve.strategies.hillclimb import Hillclimb, HillclimbConfig


def climb(candidates, patience=3):
    strategy = Hillclimb(problem(), HillclimbConfig(patience))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy


def test_it_starts_from_the_best_start():
    assert {tuple(parents) for _, parents, _ in asked(climb([ok(0, 3.0), ok(1, 1.0)]))} == {(1,)}


def test_an_equal_child_is_accepted_and_a_worse_one_is_not():
    assert climb([ok(0, 1.0), ok(1, 1.0, parents=(0,))]).state()["current"] == 1
    assert climb([ok(0, 1.0), ok(1, 1.1, parents=(0,))]).state()["current"] == 0


def test_after_some_children_without_gain_it_starts_from_the_next_start():
    starts = [ok(0, 2.0), ok(1, 1.0)]
    children = [ok(k, 5.0, parents=(1,)) for k in range(2, 5)]
    assert climb([*starts, *children[:2]]).state() == {"told": 4, "current": 1, "stalled": 2, "restarts": 0}
    assert climb([*starts, *children]).state() == {"told": 5, "current": 0, "stalled": 0, "restarts": 1}
