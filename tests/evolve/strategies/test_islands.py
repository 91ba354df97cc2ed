"""Islands: where children live, what a reset does."""

from stories import ok, problem

from evolve.strategies.islands import Islands, IslandsConfig


def islands(candidates, **settings):
    strategy = Islands(problem(), IslandsConfig(**settings))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy.state()["islands"]


def test_starting_programs_stand_on_every_island():
    assert islands([ok(0, 1.0), ok(1, 2.0)], islands=3) == [[0, 1]] * 3


def test_children_stay_on_the_island_of_their_parent():
    line = [ok(0, 5.0), ok(1, 4.0, parents=(0,)), ok(2, 3.0, parents=(1,)), ok(3, 2.0, parents=(2,))]
    assert islands(line, islands=2) == [[0], [0, 1, 2, 3]]


def test_programs_with_equal_values_everywhere_form_one_cluster():
    twin = ok(0, 1.0)
    alike = type(twin)(type(twin.program)(7, "x = 2", "import", "mutate", (0,)), twin.outcome)
    assert islands([twin, alike], islands=1) == [[0]]


def test_a_reset_founds_the_worse_half_anew_from_the_better():
    told = [ok(0, 5.0), ok(1, 1.0, parents=(0,)), ok(2, 3.0, parents=(0,)), ok(4, 4.0, parents=(2,))]
    # 2 and 4 live on island 0, 1 on island 1: the third reset position founds island 0 from program 1
    assert islands(told, islands=2, reset=4) == [[1], [0, 1]]
