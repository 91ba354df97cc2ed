"""Genetic proposals: valid, new, finite, readable, reproducible programs from any parent."""

import ast
import asyncio
import contextlib
import math
import re
from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from evaluators.admission.canonical import canonical_hash
from evaluators.admission.policy import admit
from evaluators.outcome import Ok
from evolve.program import Candidate, Program
from evolve.proposers._simplify import simplify
from evolve.proposers._terms import ANY, NONNEGATIVE, POSITIVE, fact_of, parse_unit
from evolve.proposers._tidy import guard, hazards, render, size, tidy
from evolve.proposers._trees import Tree
from evolve.proposers._variation import MUTATIONS, change_point, insert_term
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.proposer import EditRefused
from evolve.strategies.strategy import Proposal
from problems.problem import Hook, Objective, Problem, Quantity, quantities


class Operation(NamedTuple):
    """What waits."""

    duration: Annotated[float, "time", "processing time, > 0"]
    work_left: Annotated[float, "time", "work of its job, itself included, > 0"]
    slack: Annotated[float, "time", "due date minus completion; negative if late"]
    operations_left: Annotated[float, "count", "operations of its job, >= 1"]
    queue: Annotated[float, "time", "work in front of it"]
    noise: Annotated[float, "1", "uniform in [0, 1)"]


class Shop(NamedTuple):
    """Where it waits."""

    now: Annotated[float, "time", "the time"]
    share: Annotated[float, "1", "share of work done, in [0, 1)"]


PROBLEM = Problem(
    module="problems.tiny.shop",
    title="A tiny shop",
    statement="",
    hooks=(Hook("priority", {"op": Operation, "shop": Shop}, "The lowest is first."),),
    objectives=(Objective("cost", "cost", "1", "mean"),),
    splits={},
    probes=lambda: [],
    simulators={},
    solution=tuple,
    decisions=lambda data: 1,
    verify=lambda data, solution: None,
    measure=lambda data, solution: {},
    raw_units={},
    lower_bounds=lambda data: {},
    baselines=(),
    read=lambda path: [],
    format="",
)

SPT = "def priority(op, shop):\n    return op.duration\n"
RATIO = "def priority(op, shop):\n    return op.duration / op.work_left\n"
WRITTEN = '''"""A rule as people and language models write them."""

import math

ALPHA = param(1.5, low=0.5, high=2.0)
LIMIT = 0.3


def urgency(op, scale):
    """Helper."""
    late = max(-op.slack, 0.0)
    return math.exp(-late / scale) if scale > 1 else late


def priority(op, shop):
    """The rule."""
    total = 0.0
    for k in range(3):
        total += op.queue * LIMIT**k
    pressure = urgency(op, op.work_left + 2.0)
    if shop.share > LIMIT and op.operations_left >= 2:
        return op.duration * pressure  # early on
    elif total > shop.now:
        weight: float = ALPHA * math.sqrt(op.queue)
        return op.duration / op.work_left - weight
    while total > 100:
        total /= 2
    return (op.duration / op.work_left) ** ALPHA + total
'''
PARENTS = (SPT, RATIO, WRITTEN)


def candidate(source):
    return Candidate(Program(0, source, "import"), Ok({"cost": 1.0}, {}, {}, {}))


def child(seed, *sources, operator=None, proposer=None):
    operator = operator or ("crossover" if len(sources) > 1 else "mutate")
    proposal = Proposal(operator, tuple(map(candidate, sources)))
    proposer = proposer or GeneticProposer(PROBLEM)
    return asyncio.run(proposer.propose(proposal, np.random.default_rng(seed))).source


def child_or_discard(seed, *sources):
    """A child; alike or oversized parents may have none, which is no example then."""
    try:
        return child(seed, *sources)
    except EditRefused:
        reject()


def lineage(seed, generations, start):
    """Children of children, each crossed with the original once in a while."""
    source = start
    for step in range(generations):
        # At the size limit a crossover may find nothing that fits.
        with contextlib.suppress(EditRefused):
            source = child((seed, step), source, *([start] if step % 4 == 3 else []))
    return source


def plain(source):
    """The rule as a Python function."""
    namespace = {"param": lambda value, **_: value}
    exec(source, namespace)  # the sources are this module's own
    return namespace["priority"]


seeds = st.integers(0, 2**32)
parents = st.sampled_from(PARENTS)
times = st.sampled_from([0.0, 0.5, 1.0, 7.0, 99.0, 5000.0])


@settings(max_examples=300, deadline=None)
@given(seeds, parents, parents, st.booleans())
def test_a_child_is_admitted_and_differs_from_its_parents(seed, first, second, crossing):
    source = child_or_discard(seed, first, *([second] if crossing else []))
    admit(source, PROBLEM)
    hashes = [canonical_hash(one, ("priority",)) for one in (source, first, second)]
    assert hashes[0] not in hashes[1 : 2 + crossing]


@settings(max_examples=40, deadline=None)
@given(seeds, parents)
def test_descendants_stay_admitted_within_limits_and_tidy(seed, start):
    source = lineage(seed, 25, start)
    admit(source, PROBLEM)
    tree = Tree(source, PROBLEM)
    assert size(tree) <= max(35, size(Tree(start, PROBLEM)))
    tidy(tree)
    assert render(tree.module) == source
    assert not re.search(r"--|\(\(([^()]*)\)\)", source)
    assert all(len(number.replace(".", "").strip("0")) <= 4 for number in re.findall(r"\d+\.\d+", source))


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([SPT, RATIO]), st.tuples(*[times] * 3), st.floats(-1000, 1000), st.booleans())
def test_descendants_of_finite_rules_are_finite_everywhere(seed, start, some, slack, late):
    source = lineage(seed, 25, start)
    assert not hazards(Tree(source, PROBLEM))
    op = Operation(max(some[0], 1.0), max(some[1], 1.0), slack, 1.0 + late, some[2], 0.5)
    assert math.isfinite(plain(source)(op, Shop(some[2], 0.0 if late else 0.9)))


@settings(max_examples=50, deadline=None)
@given(seeds, parents, parents)
def test_the_same_generator_gives_the_same_child(seed, first, second):
    assert child_or_discard(seed, first, second) == child(seed, first, second)


def test_different_generators_give_different_children():
    assert len({child(seed, RATIO) for seed in range(100)}) > 60


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_a_parameter_stays_within_its_bounds(seed):
    source = lineage(seed, 8, WRITTEN)
    for value, low, high in re.findall(r"param\((.*?), low=(.*?), high=(.*?)\)", source):
        assert float(low) <= float(value) <= float(high)


@pytest.mark.parametrize("variation", [variation for variation, _ in MUTATIONS])
def test_every_mutation_applies_somewhere_and_says_what_it_did(variation):
    said = set()
    for seed in range(30):
        tree = Tree(WRITTEN, PROBLEM)
        said.add(variation(tree, np.random.default_rng(seed)))
    assert any(" -> " in text for text in said)


def test_locals_conditions_and_helpers_are_all_varied():
    changed = set()
    for seed in range(300):
        tree = ast.parse(child(seed, WRITTEN))
        functions = {f.name: ast.unparse(f) for f in tree.body if isinstance(f, ast.FunctionDef)}
        before = {f.name: f for f in ast.parse(WRITTEN).body if isinstance(f, ast.FunctionDef)}
        for name, old in before.items():
            old.body = old.body[1:]  # docstrings go: they would no longer be true
            if functions.get(name) not in (None, ast.unparse(old)):
                changed.add(name)
    assert changed == {"urgency", "priority"}


def test_while_loops_and_ranges_are_left_alone():
    for seed in range(200):
        source = child(seed, WRITTEN)
        if "while" in source:
            assert "while total > 100:\n        total /= 2" in source
        if "for k" in source:
            assert "for k in range(3)" in source


def test_a_graft_brings_its_locals_and_constants_along():
    donor = "W = 0.25\n\n\ndef priority(op, shop):\n    late = op.queue - op.slack\n    return W * late\n"
    grafted = {child(seed, SPT, donor) for seed in range(60)}
    assert any("0.25 * (op.queue - op.slack)" in source for source in grafted)
    assert not any(re.search(r"\blate\b|\bW\b", source) for source in grafted)


def test_a_graft_never_calls_a_helper_that_the_receiver_lacks():
    for seed in range(60):
        assert "urgency" not in child(seed, SPT, WRITTEN)


def test_terms_never_read_noise_but_a_parent_may():
    assert not any("noise" in lineage(seed, 10, SPT) for seed in range(30))
    assert any(
        "noise" in child(seed, "def priority(op, shop):\n    return op.duration + op.noise\n") for seed in range(9)
    )


def test_added_terms_mostly_respect_units():
    class Mixed(NamedTuple):
        """Two times and two counts."""

        p: Annotated[float, "time", "> 0"]
        q: Annotated[float, "time", "> 0"]
        n: Annotated[float, "count", "> 0"]
        k: Annotated[float, "count", "> 0"]

    hook = Hook("rank", {"x": Mixed}, "")
    problem = Problem(**{**vars(PROBLEM), "hooks": (hook,)})
    to = []
    for seed in range(400):
        tree = Tree("def rank(x):\n    return x.p\n", problem)
        to.append(change_point(tree, np.random.default_rng(seed)).split(" -> ")[1])
    assert sum(name in ("x.p", "x.q") for name in to) > 300


def test_a_parent_without_hook_or_without_syntax_is_refused():
    with pytest.raises(EditRefused, match="does not parse"):
        child(0, "def priority(op, shop:\n")
    with pytest.raises(EditRefused, match="no new program"):
        child(0, "def other(op, shop):\n    return 1.0\n")


def test_an_unknown_operator_or_a_missing_parent_is_our_mistake():
    with pytest.raises(ValueError, match="operator must be one of mutate, crossover, expand, got 'rewrite'"):
        child(0, SPT, operator="rewrite")
    with pytest.raises(ValueError, match="crossover got only 1 parents"):
        child(0, SPT, operator="crossover")


def test_children_of_an_oversized_parent_may_be_as_large_as_it_is():
    big = "def priority(op, shop):\n    return " + " + ".join(
        ["op.duration * op.queue"] * 1 + [f"op.slack * {k}.5" for k in range(40)]
    )
    sizes = [size(Tree(child(seed, big), PROBLEM)) for seed in range(20)]
    assert max(sizes) <= size(Tree(big, PROBLEM))


SIMPLIFIED = [
    ("a - -b", "a + b"),
    ("a + -2.0", "a - 2.0"),
    ("-a + b", "b - a"),
    ("-(-a)", "a"),
    ("-(a - b)", "b - a"),
    ("-a * b", "-(a * b)"),
    ("-a / -b", "a / b"),
    ("a * 1.0 + 0.0", "a"),
    ("a * 0", "0.0"),
    ("a * 3.0", "3.0 * a"),
    ("2.0 * (3.0 * a)", "6.0 * a"),
    ("(a + 1.0) - 3.0", "a - 2.0"),
    ("a + a", "2.0 * a"),
    ("a - a", "0.0"),
    ("a / a", "1.0"),
    ("a ** 1", "a"),
    ("a ** 0", "1.0"),
    ("1.0 / 3.0", "0.3333"),
    ("(-2.0) ** 2", "4.0"),
    ("1.0 / 0.0", "1.0 / 0.0"),
    ("max(a, max(b, a), 1.0, 2.0)", "max(a, b, 2.0)"),
    ("min(a, a)", "a"),
    ("abs(abs(a))", "abs(a)"),
    ("math.sqrt(4.0)", "2.0"),
    ("a if 1 < 2 else b", "a"),
    ("a if b < b else b", "b"),
    ("b if a < b else b", "b"),
    ("a if a < b and 1 < 2 else b", "a if a < b else b"),
    ("a if not (not a < b) else b", "a if a < b else b"),
]


@pytest.mark.parametrize(("before", "after"), SIMPLIFIED)
def test_simplification(before, after):
    function = ast.parse(f"def f(a, b):\n    return {before}").body[0]
    simplify(function)
    assert ast.unparse(function) == f"def f(a, b):\n    return {after}"


def test_branches_that_are_never_taken_and_unused_names_disappear():
    source = """import math
W = 2.0

def h(x):
    return x

def priority(op, shop):
    y = W
    if 1 > 2:
        return h(y)
    return op.queue
"""
    tree = Tree(source, PROBLEM)
    tidy(tree)
    assert render(tree.module) == "def priority(op, shop):\n    return op.queue\n"


GUARDED = [
    ("1.0 / op.queue", "1.0 / (op.queue + 1.0)"),
    ("1.0 / op.duration", "1.0 / op.duration"),
    ("1.0 / op.slack", "1.0 / (abs(op.slack) + 1.0)"),
    ("1.0 / shop.share", "1.0 / (shop.share + 0.1)"),
    ("op.slack ** 0.5", "(abs(op.slack) + 1.0) ** 0.5"),
    ("op.slack ** 2", "op.slack ** 2"),
    ("math.log(op.queue)", "math.log(op.queue + 1.0)"),
    ("math.sqrt(op.slack)", "math.sqrt(abs(op.slack))"),
    ("math.exp(op.queue)", "math.exp(min(op.queue, 20.0))"),
    ("math.exp(-op.queue)", "math.exp(-op.queue)"),
    ("2.0 ** op.slack", "2.0 ** math.tanh(op.slack)"),
    ("1.0 / (op.duration / op.work_left)", "1.0 / (op.duration / op.work_left)"),
    ("1.0 / max(op.slack, 1.0)", "1.0 / max(op.slack, 1.0)"),
]


@pytest.mark.parametrize(("before", "after"), GUARDED)
def test_guards(before, after):
    tree = Tree(f"def priority(op, shop):\n    return {before}\n", PROBLEM)
    guard(tree, set())
    tree.refresh()
    assert render(tree.module) == f"def priority(op, shop):\n    return {after}\n"
    assert not hazards(tree)


def test_what_a_parent_divides_by_is_left_as_it_is():
    parent = "def priority(op, shop):\n    return op.duration / op.queue\n"
    kept = [child(seed, parent) for seed in range(40)]
    assert any("/ op.queue" in source for source in kept)


@pytest.mark.parametrize(
    ("unit", "doc", "sign"),
    [
        ("time", "processing time, > 0", POSITIVE),
        ("count", "operations, >= 1", POSITIVE),
        ("time", "due date, >= 0", NONNEGATIVE),
        ("time", "work in front of it", NONNEGATIVE),
        ("time", "slack; negative if late", ANY),
        ("1", "signed curvature", ANY),
    ],
)
def test_the_sign_of_a_quantity_is_read_from_its_doc(unit, doc, sign):
    assert fact_of(Quantity("x", unit, doc)).sign == sign


def test_units_are_products_of_powers():
    assert parse_unit("time") == (("time", 1),)
    assert parse_unit("bytes/s") == (("bytes", 1), ("s", -1))
    assert parse_unit("s since start") != parse_unit("s")  # so no rule compares an instant with a duration
    assert parse_unit("1") == parse_unit("share") == ()


def test_every_declared_quantity_has_a_fact():
    assert len(quantities(Operation)) == len(Tree(SPT, PROBLEM).scopes["priority"].records["op"])


@pytest.mark.parametrize("seed", range(30))
def test_an_expansion_is_admitted_and_multiplies_its_parent_by_powers_of_ratios(seed):
    parent = "def priority(op, shop):\n    return op.duration / op.work_left\n"
    expanded = child(seed, parent, operator="expand")
    admit(expanded, PROBLEM)
    body = ast.unparse(ast.parse(expanded).body[-1])
    assert "op.duration / op.work_left *" in body
    assert "**" in body
    assert "noise" not in body


YES_OR_NO = (
    "def priority(op, shop):\n    if shop.now > op.slack:\n        return 0.0\n"
    "    return 1.0 if op.duration < op.work_left else -1.0\n"
)


@pytest.mark.parametrize("seed", range(30))
def test_where_answers_are_constants_an_expansion_multiplies_a_side_of_a_comparison(seed):
    expanded = child(seed, YES_OR_NO, operator="expand")
    sides = [node for node in ast.walk(ast.parse(expanded)) if isinstance(node, ast.Compare)]
    assert expanded.count("**") == sum(ast.unparse(side).count("**") for side in sides) > 0


def test_where_answers_are_yes_or_no_a_term_may_be_a_further_condition():
    found = set()
    for seed in range(40):
        tree = Tree(YES_OR_NO, PROBLEM)
        insert_term(tree, np.random.default_rng(seed))
        found |= {type(node.op) for node in ast.walk(tree.module) if isinstance(node, ast.BoolOp)}
    assert found == {ast.And, ast.Or}


def test_each_further_hook_allows_a_program_twenty_terms_more():
    four = replace(PROBLEM, hooks=tuple(replace(PROBLEM.hooks[0], name=f"priority_{k}") for k in range(4)))
    source = "\n\n\n".join(SPT.replace("priority", f"priority_{k}") for k in range(4))
    one, more = (Tree(SPT, PROBLEM), Tree(source, four))
    assert GeneticProposer(four)._limits(more)[0] == GeneticProposer(PROBLEM)._limits(one)[0] + 60
