"""MAP-Elites on islands: elites, ties, migration."""

from stories import ok, problem

from evolve.strategies.map_elites import MapElites, MapElitesConfig


def elites(candidates, **settings):
    strategy = MapElites(problem(), MapElitesConfig(**settings))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy.state()["islands"]


def test_a_cell_keeps_its_best_program_and_ties_keep_the_elite():
    assert elites([ok(0, 2.0), ok(1, 1.0), ok(2, 1.0)], islands=1, bins=1) == [[1]]


def test_programs_of_other_sizes_keep_cells_of_their_own():
    small, large = ok(0, 1.0, source="x = 1"), ok(1, 9.0, source="x = 1 + 2 + 3 + 4", parents=(0,))
    assert elites([small, large], islands=1) == [[0, 1]]


def test_the_best_of_each_island_migrates_to_the_next():
    line = [ok(0, 5.0), ok(1, 1.0, source="y = 2 + 3", parents=(0,))]
    assert elites(line, islands=2) == [[0], [0, 1]]
    assert elites(line, islands=2, migration=2) == [[0, 1], [0, 1]]
