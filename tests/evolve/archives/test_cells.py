"""Cells by the groups in which a program ranks best and worst, against a naive twin."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import failed

from evaluators.outcome import Dropped, Ok
from evolve.archives.cells import CellArchive
from evolve.program import Candidate, Program
from problems.problem import Objective

# few different values, so that ties of ranks and of programs are common
rows = st.integers(0, 5).flatmap(
    lambda k: st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.integers(0, 5), min_size=k, max_size=k), st.integers(-1, 30)),
        max_size=40,
    )
)


def candidate(number, cost, groups=(), parent=-1):
    named = {f"group{k}": {"cost": float(value)} for k, value in enumerate(groups)}
    parents = (parent,) if parent >= 0 else ()
    return Candidate(Program(number, "", "import", parents=parents), Ok({"cost": float(cost)}, named, {}, {}))


def story(rows, turn=float):
    return [candidate(n, turn(cost), map(turn, groups), parent) for n, (cost, groups, parent) in enumerate(rows)]


def filled(candidates, direction="min"):
    archive = CellArchive(Objective("cost", "cost", "1", "mean", direction=direction))
    for one in candidates:
        archive.add(one)
    return archive


def naive(rows):
    """The rules written out: cells, elites' numbers and visits after all rows were added."""
    kept, visits = [], {}
    for n, (_, _, parent) in enumerate(rows):
        if parent in kept:
            visits[parent] += 1
        visits[n], best = 0, {}
        for m in [*kept, n]:
            cell = naive_cell(rows[m][1], [groups for _, groups, _ in rows[: n + 1]])
            if cell not in best or rows[m][0] < rows[best[cell]][0]:
                best[cell] = m
        kept = sorted(best.values())
    return sorted([*cell, m, visits[m]] for cell, m in best.items()) if rows else []


def naive_cell(own, seen):
    """Of equal ranks the first group is the best and the last one the worst."""
    if len(own) < 2:
        return ("", "")
    rank = [
        sum((other[k] < value) + 0.5 * (other[k] == value) for other in seen) / len(seen) for k, value in enumerate(own)
    ]
    best = rank.index(min(rank))
    worst = max(k for k in range(len(own)) if rank[k] == max(rank))
    return (f"group{best}", f"group{worst}")


def numbers(archive):
    return [c.program.id for c in archive.members]


@given(rows)
def test_it_equals_its_naive_twin(rows):
    assert filled(story(rows)).state() == naive(rows)


def test_it_equals_its_naive_twin_on_150_programs_of_8_groups():
    rng = np.random.default_rng(1)
    level = rng.random(150)
    groups = level[:, None] + 0.2 * rng.random((150, 8))
    rows = [(level[n], groups[n].tolist(), int(rng.integers(n)) if n > 9 else -1) for n in range(150)]
    found = filled(story(rows)).state()
    assert found == naive(rows)
    assert len(found) > 20


def test_a_program_is_where_it_ranks_best_and_worst_compared_with_itself():
    # Values:        group0  group1     ranks: group0      group1
    #   program 0      10       1        (0 + 1) / 6    (0 + 1) / 6
    #   program 1      20     300        (1 + 2) / 6    (2 + 3) / 6
    #   program 2      30     200        (2 + 3) / 6    (1 + 2) / 6
    archive = filled([candidate(0, 1, (10, 1)), candidate(1, 3, (20, 300)), candidate(2, 2, (30, 200))])
    found = {cell: c.program.id for cell, c in archive.cells.items()}
    # program 0 leads in both: a tie, so the first is its best group and the last its worst; program 1 loses to it
    assert found == {("group0", "group1"): 0, ("group1", "group0"): 2}
    assert numbers(archive) == [0, 2]


def test_ranks_shift_as_programs_are_seen_and_of_two_that_meet_the_better_stays():
    first, second = candidate(0, 5, (1, 2)), candidate(1, 4, (2, 1))
    archive = filled([first, second])
    assert archive.cells == {("group0", "group1"): first, ("group1", "group0"): second}
    # a program that leads in group0 alone puts program 0 at 1.5 of 3 in both: a tie, which leaves it in its cell ...
    assert not archive.add(candidate(2, 9, (0.5, 10)))
    assert archive.cells == {("group0", "group1"): first, ("group1", "group0"): second}
    # ... and another one at 2.5 of 4 in group0, so that group1 is the better one
    archive.add(candidate(3, 9, (0.5, 10)))
    assert archive.cells[("group1", "group0")] is second
    assert first not in archive.members


def test_on_ties_the_elite_stays():
    archive = filled([candidate(0, 3, (1, 2)), candidate(1, 3, (1, 2)), candidate(2, 3, (1, 2))])
    assert numbers(archive) == [0]


@given(rows)
def test_turned_direction_and_negated_scores_give_the_same_cells(rows):
    turned = filled(story(rows, lambda x: -float(x)), "max")
    assert turned.state() == filled(story(rows)).state()


@given(rows, st.lists(st.floats(0.1, 10.0), min_size=6, max_size=6), st.sampled_from([np.exp, np.cbrt, np.square]))
def test_units_origins_and_bends_of_a_groups_score_do_not_matter(rows, scales, bend):
    bent = [
        (cost, [float(bend(scale * v)) for v, scale in zip(groups, scales, strict=False)], parent)
        for cost, groups, parent in rows
    ]
    assert filled(story(bent)).state() == filled(story(rows)).state()


@given(rows)
def test_it_is_bounded_by_the_pairs_of_groups_and_keeps_the_best_program(rows):
    archive = filled(story(rows))
    k = len(rows[0][1]) if rows else 0
    assert len(archive) <= max(1, k * (k - 1))
    assert numbers(archive)[:1] == ([min(range(len(rows)), key=lambda n: rows[n][0])] if rows else [])


@given(rows)
def test_told_again_it_is_the_same_and_its_state_is_json(rows):
    archive = filled(story(rows))
    assert json.loads(json.dumps(archive.state())) == archive.state() == filled(story(rows)).state()


def test_only_ok_outcomes_with_a_finite_objective_enter_and_a_group_without_a_value_does_not_count():
    dropped = Candidate(Program(1, "", "import"), Dropped("race", "worse", 1, 0.0, [0.0]))
    bad = [failed(0), dropped, candidate(2, math.nan, (1, 2)), candidate(3, -math.inf, (1, 2))]
    archive = filled(bad)
    assert (len(archive), archive.members, archive.state()) == (0, [], [])
    with pytest.raises(LookupError, match="no cell is occupied"):
        archive.least_visited(np.random.default_rng(0))
    assert archive.add(candidate(4, 1.0, (1, math.nan, 2)))
    assert archive.state() == [["group0", "group2", 4, 0]]


def test_children_count_as_visits_also_failed_ones_and_the_least_visited_is_drawn():
    archive = filled([candidate(0, 1, (1, 2)), candidate(1, 2, (2, 1)), failed(2, (0,)), failed(3, (0, 1))])
    assert archive.state() == [["group0", "group1", 0, 2], ["group1", "group0", 1, 0]]
    drawn = [archive.least_visited(np.random.default_rng(seed)).program.id for seed in range(200)]
    assert archive.state()[0][3] == 2  # drawing changes nothing
    assert 130 < drawn.count(1) < 170  # 3 of 4 pairs hold it
    assert {archive.least_visited(np.random.default_rng(seed), 20).program.id for seed in range(20)} == {1}


def test_a_new_elite_begins_without_visits():
    archive = filled([candidate(0, 3, (1, 2)), failed(1, (0,)), candidate(2, 2, (1, 2), 0)])
    assert archive.state() == [["group0", "group1", 2, 0]]
