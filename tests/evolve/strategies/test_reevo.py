"""ReEvo: pairs of unequal merit, and the best in the light of what helped."""

from stories import LLM, asked, ok, told


def test_pairs_have_the_better_program_first():
    strategy = told("reevo", [ok(k, float(10 - k)) for k in range(8)])
    pairs = [parents for operator, parents, _ in asked(strategy) if operator == "crossover"]
    assert pairs
    assert all(first > second for first, second in pairs)


def test_the_best_is_mutated_with_the_last_improvements_in_sight():
    strategy = told("reevo", [ok(k, float(10 - k)) for k in range(8)])
    shown = {tuple(others) for _, parents, others in asked(strategy, LLM) if parents == [7] and len(others) == 3}
    assert (4, 5, 6) in shown
