"""The epsilon-Pareto archive against its definition, written out naively."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.outcome import Ok, TimedOut
from evolve.archives.pareto import ParetoArchive, _box, _corner
from evolve.program import Candidate, Program
from problems.problem import Objective

GAP = Objective("gap", "gap", "%", "mean", resolution=0.5)
TIME = Objective("time", "time", "ns", "mean", resolution=0.1, relative=True)
PROFIT = Objective("profit", "profit", "1", "mean", direction="max", resolution=0.2)
EXACT = Objective("exact", "exact", "1", "mean")
OTHER = Objective("other", "other", "1", "mean")
ALL = (GAP, TIME, PROFIT, EXACT, OTHER)

values = st.floats(-20, 20).map(lambda x: round(x, 2))
several = st.integers(1, 5).flatmap(
    lambda k: st.tuples(st.permutations(ALL).map(lambda p: p[:k]), st.lists(st.tuples(*[values] * k), max_size=40))
)


def candidate(number, *scores, objectives):
    named = {o.name: v for o, v in zip(objectives, scores, strict=True)}
    return Candidate(Program(number, "", "import"), Ok(named, {}, {}, {}))


def filled(objectives, points):
    archive = ParetoArchive(objectives)
    for number, point in enumerate(points):
        archive.add(candidate(number, *point, objectives=objectives))
    return archive


def ids(archive):
    return [c.program.id for c in archive.members]


def vectors(archive):
    return [tuple(c.outcome.objectives.values()) for c in archive.members]


def box(objective, x):
    """Where a minimised value falls: on a line of equal widths, or of equal ratios on either side of zero."""
    if objective.resolution == 0:
        return (0, x)
    if objective.relative and x != 0:
        side = 1 if x > 0 else -1
        return (side, math.floor(side * math.log(abs(x)) / math.log1p(objective.resolution)))
    return (0, math.floor(x / objective.resolution))


def brute_force(objectives, points):
    """The boxes that no box dominates, and of each the lexicographically best point, the first of equals."""
    turned = [tuple(o.loss(v) for o, v in zip(objectives, p, strict=True)) for p in points]
    boxes = [tuple(box(o, x) for o, x in zip(objectives, p, strict=True)) for p in turned]
    best = {}
    for i, (p, b) in enumerate(zip(turned, boxes, strict=True)):
        best[b] = min(best.get(b, (p, i)), (p, i))
    likely = sorted(best)  # dominators come first, so that most searches end soon
    free = [b for b in likely if not any(a != b and all(map(lambda p, q: p <= q, a, b)) for a in likely)]
    return [i for _, i in sorted(best[b] for b in free)]


@given(several)
def test_it_equals_brute_force(case):
    objectives, points = case
    assert ids(filled(objectives, points)) == brute_force(objectives, points)


def front(points):
    """Rows that no other row dominates, by definition; rows are all different."""
    order = np.lexsort(points.T[::-1])
    kept = [i for i in order if not (np.all(points <= points[i], axis=1).sum() > 1)]
    return sorted(kept, key=lambda i: tuple(points[i]))


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_it_equals_the_front_of_10_000_random_points(k):
    points = np.random.default_rng(k).random((10_000, k))
    exact = [Objective(name, name, "1", "mean") for name in "abcde"[:k]]
    assert ids(filled(exact, points.tolist())) == front(points)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_with_boxes_it_equals_brute_force_on_10_000_random_points(k):
    boxed = (GAP, TIME, PROFIT, replace(GAP, name="gap2"), replace(TIME, name="time2"))[:k]
    points = np.random.default_rng(k).normal(0.0, 5.0, (10_000, k)).tolist()
    assert ids(filled(boxed, points)) == brute_force(boxed, points)


@given(several, st.randoms())
def test_the_objective_vectors_kept_do_not_depend_on_the_order(case, random):
    objectives, points = case
    shuffled = random.sample(points, len(points))
    assert vectors(filled(objectives, points)) == vectors(filled(objectives, shuffled))


@given(several)
def test_turned_directions_and_negated_values_give_the_same_archive(case):
    objectives, points = case
    turned = [Objective(**{**vars(o), "direction": "max" if o.direction == "min" else "min"}) for o in objectives]
    negated = [tuple(-v for v in point) for point in points]
    assert ids(filled(objectives, points)) == ids(filled(turned, negated))


@given(several)
def test_no_member_is_dominated_by_any_point_ever_added(case):
    objectives, points = case
    turned = [tuple(o.loss(v) for o, v in zip(objectives, p, strict=True)) for p in points]
    for number in ids(filled(objectives, points)):
        mine = turned[number]
        assert not any(p != mine and all(map(lambda x, y: x <= y, p, mine)) for p in turned)


def test_a_balanced_program_between_two_extremes_is_kept_and_is_the_knee():
    maximised = [Objective(name, name, "1", "mean", direction="max") for name in ("first", "second")]
    archive = filled(maximised, [(1.0, 0.0), (0.0, 1.0), (0.9, 0.9)])
    assert ids(archive) == [0, 2, 1]
    assert archive.knee().program.id == 2


def test_within_a_box_the_better_primary_wins_and_on_ties_the_elite_stays():
    archive = filled((GAP,), [(3.3,), (3.2,), (3.4,), (3.2,)])
    assert ids(archive) == [1]


def test_ties_on_the_primary_objective_are_broken_by_the_next():
    archive = filled((GAP, PROFIT), [(3.3, 1.05), (3.3, 1.15)])
    assert ids(archive) == [1]


def test_relative_resolution_is_a_share_of_the_value():
    # Boxes of 10 %: 100 and 101 share one, 1.00 and 1.01 do too, 1 and 2 do not.
    relative = Objective("time", "time", "ns", "mean", resolution=0.1, relative=True)
    assert len(filled((relative, EXACT), [(100.0, 1.0), (101.0, 0.0)])) == 1
    assert len(filled((relative, EXACT), [(1.0, 1.0), (2.0, 0.0)])) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_failure_or_a_non_finite_objective_cannot_enter(bad):
    archive = ParetoArchive((GAP, TIME))
    assert not archive.add(candidate(0, 1.0, bad, objectives=(GAP, TIME)))
    assert not archive.add(Candidate(Program(1, "", "import"), TimedOut("run", "10 s passed")))
    assert (len(archive), archive.knee(), archive.extremes()) == (0, None, {})
    assert archive.hypervolume({"gap": 1.0, "time": 1.0}) == 0.0


def test_add_says_whether_the_candidate_was_kept():
    archive = ParetoArchive((EXACT, OTHER))
    kept = [archive.add(candidate(i, *p, objectives=(EXACT, OTHER))) for i, p in enumerate([(1, 1), (2, 2), (0, 2)])]
    assert kept == [True, False, True]


def test_extremes_are_the_best_on_each_objective():
    archive = filled((EXACT, PROFIT), [(0.0, 0.0), (1.0, 2.0), (2.0, 3.0)])
    assert {name: c.program.id for name, c in archive.extremes().items()} == {"exact": 0, "profit": 2}


def test_the_knee_lies_furthest_below_the_line_between_the_extremes():
    # Scaled to [0, 1]: (0, 1), (0.25, 0.25), (0.5, 0.2), (1, 0): 0, 0.5, 0.3 and 0 below x + y = 1.
    assert filled((EXACT, OTHER), [(0, 20), (1, 5), (2, 4), (4, 0)]).knee().program.id == 1


def test_a_front_on_the_line_yields_its_primary_extreme():
    assert filled((EXACT, OTHER), [(0.3, 0.7), (0.9, 0.1), (0.1, 0.9)]).knee().program.id == 2


def test_hypervolume_of_two_steps_is_three():
    # Below (2, 2): (0, 1) covers 2 x 1, (1, 0) covers 1 x 2, both cover 1 x 1.
    archive = filled((EXACT, OTHER), [(0.0, 1.0), (1.0, 0.0)])
    assert archive.hypervolume({"exact": 2.0, "other": 2.0}) == pytest.approx(3.0)


def test_hypervolume_turns_maximised_objectives():
    # 4.1 lies in the box (4.0, 4.2], which counts from 4.0.
    archive = filled((EXACT, PROFIT), [(0.0, 4.1)])
    assert archive.hypervolume({"exact": 2.0, "profit": 1.0}) == pytest.approx(6.0)


@given(several)
def test_hypervolume_never_falls(case):
    objectives, points = case
    archive, volumes = ParetoArchive(objectives), [0.0]
    for number, point in enumerate(points):
        archive.add(candidate(number, *point, objectives=objectives))
        volumes.append(archive.hypervolume({o.name: 25.0 * o.loss(1.0) for o in objectives}))
    assert all(a <= b * (1 + 1e-12) for a, b in itertools.pairwise(volumes))


def test_hypervolume_stays_where_a_member_leaves_for_a_neighbour_that_is_a_little_worse_elsewhere():
    # The newcomer wins the box [0, 0.5) x [0, 0.5) on the first objective; both count from (0.5, 0.5).
    boxed = (GAP, replace(GAP, name="other"))
    volumes = []
    for points in ([(0.4, 0.0)], [(0.4, 0.0), (0.3, 0.4)]):
        archive = filled(boxed, points)
        volumes.append(archive.hypervolume({"gap": 1.0, "other": 1.0}))
    assert ids(archive) == [1]
    assert volumes == pytest.approx([0.25, 0.25])


@given(several)
def test_every_point_lies_in_its_box_and_the_corner_is_not_better(case):
    objectives, points = case
    for point in points:
        for objective, value in zip(objectives, point, strict=True):
            turned = objective.loss(value)
            corner = _corner(objective, _box(objective, turned))
            assert turned <= corner + 1e-12 * abs(corner)


def test_an_archive_needs_an_objective():
    with pytest.raises(ValueError, match="at least one objective"):
        ParetoArchive(())
