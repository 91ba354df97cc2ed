"""Tree search: visits, bounds, widening."""

from collections import Counter

from stories import asked, failed, ok, told


def test_failures_count_as_visits_of_the_whole_line():
    strategy = told("mcts", [ok(0, 3.0), ok(1, 2.0, parents=(0,)), failed(2, parents=(1,))])
    assert strategy.state()["visits"] == {"0": 3, "1": 2}


def test_a_poor_line_is_not_given_up_for_good():
    starts = [ok(0, 1.0), ok(1, 2.0)]
    children = [ok(k, 1.5, parents=(0,)) for k in range(2, 300)]
    chosen = Counter(parents[0] for _, parents, _ in asked(told("mcts", [*starts, *children])))
    few = Counter(parents[0] for _, parents, _ in asked(told("mcts", starts)))
    assert few[0] > few[1]
    assert sum(chosen.values()) > 0


def test_the_best_value_below_a_node_draws_the_descent():
    line = [ok(0, 9.0), ok(1, 8.0), ok(2, 1.0, parents=(0,)), *(ok(k, 9.5, parents=(1,)) for k in range(3, 6))]
    chosen = Counter(parents[0] for _, parents, _ in asked(told("mcts", line)))
    assert chosen[0] + chosen[2] > 40
