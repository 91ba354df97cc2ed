"""Sequential best-of-N."""

from stories import LLM, asked, ok, told


def test_it_always_edits_the_best():
    strategy = told("greedy", [ok(0, 3.0), ok(1, 1.0), ok(2, 2.0)])
    assert {tuple(parents) for _, parents, _ in asked(strategy)} == {(1,)}


def test_ties_go_to_the_older_program():
    assert told("greedy", [ok(0, 1.0), ok(1, 1.0)]).state() == {"told": 2, "best": 0}


def test_crossover_is_left_out_and_other_operators_take_turns():
    assert {operator for operator, _, _ in asked(told("greedy", [ok(0, 1.0)]))} == {"mutate"}
    assert {operator for operator, _, _ in asked(told("greedy", [ok(0, 1.0)]), LLM)} == set(LLM)
