"""Independent sampling."""

from stories import EOH, GENETIC, asked, failed, ok, told


def test_parents_are_always_starting_programs():
    strategy = told("sample", [ok(0, 3.0), failed(1), ok(2, 2.0), ok(3, 1.0, parents=(0,))])
    for operators in (GENETIC, EOH):
        assert {number for _, parents, _ in asked(strategy, operators) for number in parents} == {0, 2}


def test_operators_that_explore_come_first():
    starts = [ok(0, 1.0), ok(1, 2.0)]
    assert {operator for operator, _, _ in asked(told("sample", starts), EOH)} == {"e1", "redesign"}
    assert {operator for operator, _, _ in asked(told("sample", starts[:1]), EOH)} == {"redesign"}
