"""What every problem promises to the framework, checked on each file problems/<family>/<problem>.py."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nosy import nosy

from evaluators import audit, kinds
from evaluators.compiler.compile import CompiledProgram, compile_hooks, simulate
from evaluators.processes import frames
from problems import registry
from problems.problem import BadInstance, Baseline, Infeasible, Instance, NonFiniteScore, Problem, quantities

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-9  # relative
MOST_PAIRS = 800  # of a rule and an instance: all of them, where there are not more


@pytest.fixture(scope="module", params=registry.names())
def problem(request: pytest.FixtureRequest) -> Problem:
    return registry.load(request.param)


@cache
def compiled(problem_name: str, rule: str) -> CompiledProgram:
    problem = registry.load(problem_name)
    baseline = problem.baseline(rule)
    assert baseline is not None
    return compile_hooks(baseline.source, problem, wrappers=True)


@cache
def whole_program(problem_name: str, rule: str) -> Any:
    baseline = registry.load(problem_name).baseline(rule)
    assert baseline is not None
    namespace: dict[str, Any] = {}
    exec(baseline.source, namespace)
    return namespace["solve"]


def solve(problem: Problem, baseline: Baseline, data: Any, decoder: str | None = None) -> Any:
    if baseline.solve is not None:
        return baseline.solve(data)
    if problem.form == "solve":
        return problem.simulators["solve"](data, whole_program(problem.name, baseline.name), np.zeros(0))
    return simulate(problem, decoder or problem.default_decoder, data, compiled(problem.name, baseline.name))


def first_of_each_group(instances: Sequence[Instance]) -> list[Instance]:
    return list({i.group: i for i in reversed(instances)}.values())[::-1]


def arrays(data: Any) -> Iterator[np.ndarray]:
    for value in data:
        if isinstance(value, tuple):
            yield from arrays(value)
        else:
            yield value


def content(instance: Instance) -> bytes:
    return b"|".join(repr(a.shape).encode() + a.tobytes() for a in arrays(instance.data))


def directions(problem: Problem) -> dict[str, int]:
    """1 for raw metrics that are minimised, -1 for those that are maximised."""
    return {o.of: 1 if o.direction == "min" else -1 for o in problem.objectives if o.of}


def beaten_bound(problem: Problem, instance: Instance, solution: Any) -> str:
    """What a solution's raw values are better than though nothing can be; empty if there is no such thing."""
    bounds = [(m, v, "lower_bounds") for m, v in problem.lower_bounds(instance.data).items()]
    bounds += [(m, r.value, r.kind) for m, r in instance.references.items() if r.kind != "best known"]
    raw = problem.measure(instance.data, solution)
    for metric, bound, kind in bounds:
        sign = directions(problem).get(metric, 1)
        if sign * (raw[metric] - bound) < -ROUNDING * abs(bound):
            return f"{instance.name}: {metric} {raw[metric]} is better than the {kind} {bound}"
    return ""


def judge(
    problem: Problem,
    baseline: Baseline,
    instances: Sequence[Instance],
    decoder: str | None = None,
    verified: slice = slice(None),
) -> None:
    """Solve, verify, measure; nothing may beat a bound.

    Those of ``verified`` are verified: a replay in Python can take a hundred times as long as the simulation.
    """
    checked = {instance.name for instance in instances[verified]}
    for instance in instances:
        solution = solve(problem, baseline, instance.data, decoder)
        if instance.name in checked:
            problem.verify(instance.data, solution)
        assert set(problem.measure(instance.data, solution)) == set(problem.raw_units)
        assert not (found := beaten_bound(problem, instance, solution)), f"{baseline.name}: {found}"


def test_explanations_are_one_bounded_line_and_decisions_are_told_in_few_words(problem: Problem) -> None:
    if problem.explain is None and problem.narrate is None:
        return
    rules = [b for b in problem.baselines if b.is_rule][:2]
    for instance, rule in zip(problem.probes(), rules * 2, strict=False):
        solution = solve(problem, rule, instance.data)
        if problem.explain is not None:
            text = problem.explain(instance.data, solution)
            assert text == problem.explain(instance.data, solution)
            assert 5 < len(text) <= 600
            assert "\n" not in text
            assert "nan" not in text.split()
        if problem.narrate is not None:
            told = problem.narrate(instance.data, solution)
            assert told
            assert all(0 < len(line) <= 240 for line in told)


def test_every_declaration_has_a_unit_and_a_text(problem: Problem) -> None:
    assert problem.title
    assert problem.statement.strip()
    assert problem.format
    for hook in problem.hooks:
        assert hook.doc
        for argument in hook.arguments.values():
            assert argument.__doc__
            assert len(quantities(argument)) == len(argument.__annotations__)
            assert all(q.unit and q.doc for q in quantities(argument))
            # an instant is no duration, or the genetic proposer divides one by the other
            assert all(q.unit != "s" for q in quantities(argument) if q.name == "now")
    if problem.solver is not None:
        assert problem.solver.doc
        assert problem.solver.argument.__doc__
        assert all(f.type and f.unit and f.doc for f in problem.solver.fields)
        assert set(problem.solver.arrays) == set(vars(problem.solution)["_fields"])
    assert bool(problem.hooks) != bool(problem.solver)
    for objective in problem.objectives:
        assert objective.title
        assert objective.unit
        assert objective.resolution > 0
        assert (objective.of in problem.raw_units) == (objective.kind != "decision_time")
    assert all(problem.raw_units.values())
    assert len({o.name for o in problem.objectives}) == len(problem.objectives)


def test_the_name_is_the_path(problem: Problem) -> None:
    assert problem.name in registry.names()
    assert registry.load(problem.name) is problem


def test_at_least_three_cited_rules_bear_their_own_names(problem: Problem) -> None:
    assert len(problem.rules) >= 3
    assert len({b.name for b in problem.baselines}) == len(problem.baselines)
    for baseline in problem.baselines:
        assert baseline.title
        assert baseline.citation
        fills = bool(baseline.text) if problem.solver else set(baseline.hooks) == {h.name for h in problem.hooks}
        assert baseline.is_rule == fills


def test_rules_are_admitted_as_programs(problem: Problem) -> None:
    for baseline in problem.rules:
        kinds.admit(baseline.source, problem)


def test_splits_are_train_valid_test_and_shifts(problem: Problem) -> None:
    assert list(problem.splits)[:3] == ["train", "valid", "test"]
    assert all(split.startswith("shift-") for split in list(problem.splits)[3:])


def test_instances_have_unique_names_and_frozen_contiguous_arrays(problem: Problem) -> None:
    for make in (*problem.splits.values(), problem.probes):
        instances = make()
        assert len({i.name for i in instances}) == len(instances) > 0
        assert all(i.group for i in instances)
        assert all(problem.decisions(i.data) > 0 for i in instances)
        for array in (a for i in instances for a in arrays(i.data)):
            assert array.flags.c_contiguous
            assert not array.flags.writeable


def test_whole_programs_see_frozen_plain_values(problem: Problem) -> None:
    if problem.solver is None:
        pytest.skip("candidates are hooks: they see numbers only")
    for instance in problem.probes():
        seen = problem.solver.view(instance.data)
        assert type(seen) is problem.solver.argument
        kind, fields = frames.unpack(frames.pack(b"Q", seen._asdict())[4:])
        assert kind == b"Q"
        assert all(np.array_equal(fields[name], value) for name, value in seen._asdict().items())


def test_no_instance_is_in_two_splits(problem: Problem) -> None:
    owner: dict[bytes, str] = {}
    for split, make in problem.splits.items():
        for instance in make():
            key = content(instance)
            assert key not in owner, f"{instance.name} of {split} is also {owner[key]}"
            owner[key] = f"{instance.name} of {split}"


def test_references_name_raw_metrics_and_respect_the_bounds(problem: Problem) -> None:
    for instance in (i for make in problem.splits.values() for i in make()):
        bounds = problem.lower_bounds(instance.data)
        assert set(bounds) <= set(problem.raw_units)
        for metric, reference in instance.references.items():
            sign = directions(problem)[metric]
            assert sign * (reference.value - bounds[metric]) >= -ROUNDING * abs(reference.value), instance.name
        for objective in problem.objectives:
            assert objective.kind not in ("gap", "ratio_of_sums") or objective.of in instance.references


def split_digest(problem: Problem) -> str:
    digest = hashlib.sha256()
    for split, make in problem.splits.items():
        for instance in make():
            digest.update(f"{split} {instance.name} {instance.group} {instance.references}".encode())
            digest.update(content(instance))
    return digest.hexdigest()


def test_another_process_draws_the_same_instances(problem: Problem) -> None:
    code = f"from test_contract import registry, split_digest; print(split_digest(registry.load({problem.name!r})))"
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    # Another hash seed: no order may come from a set.
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == split_digest(problem)


def test_simulations_repeat(problem: Problem) -> None:
    for decoder in problem.simulators:
        for instance in (*problem.probes(), *first_of_each_group(problem.splits["valid"]())):
            for rule in problem.rules:
                first, second = (solve(problem, rule, instance.data, decoder) for _ in range(2))
                assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), rule.name


def test_no_program_can_anticipate_not_even_one_that_reads_every_field(problem: Problem) -> None:
    hidden, differs = problem.hidden, 0
    if hidden is None:
        return
    programs = {rule.name: compiled(problem.name, rule.name) for rule in problem.rules}
    programs["nosy"] = compile_hooks(nosy(problem), problem)
    for name, program in programs.items():
        for decoder in problem.simulators:
            for seed, probe in enumerate(problem.probes()):
                solution = simulate(problem, decoder, probe.data, program)
                future = hidden.permute(probe.data, solution, np.random.default_rng(seed))
                other = simulate(problem, decoder, future.data, program)
                assert audit.compare(problem, hidden, future, solution, other) is None, f"{name}, {probe.name}"
                assert hidden.decided(solution, future.until)
                differs += any(not np.array_equal(a, b) for a, b in zip(solution, other, strict=True))
    assert differs, "permuting what is hidden never changes anything"


def test_rules_run_on_every_split_in_every_decoder(problem: Problem) -> None:
    for make in problem.splits.values():
        for decoder in problem.simulators:
            for rule in problem.rules:
                judge(problem, rule, first_of_each_group(make()), decoder, verified=slice(1))


@pytest.mark.slow
def test_no_rule_beats_a_bound_on_any_instance(problem: Problem) -> None:
    splits = [make() for make in problem.splits.values()]
    rules = problem.rules
    # Every instance is solved by one rule at least, verified under one, and every rule meets as many instances.
    stride = min(max(1, sum(map(len, splits)) * len(rules) // MOST_PAIRS), len(rules))
    for instances in splits:
        for k, rule in enumerate(rules):
            sharers = len(range(k % stride, len(rules), stride))
            judge(problem, rule, instances[k % stride :: stride], verified=slice(k // stride, None, sharers))


def test_procedures_run_on_probes_and_train(problem: Problem) -> None:
    for baseline in (b for b in problem.baselines if not b.is_rule):
        judge(problem, baseline, problem.probes())
        judge(problem, baseline, first_of_each_group(problem.splits["train"]())[:1])


@pytest.mark.slow
def test_procedures_run_on_every_split(problem: Problem) -> None:
    for baseline in (b for b in problem.baselines if not b.is_rule):
        for make in problem.splits.values():
            instances = sorted(first_of_each_group(make()), key=lambda i: problem.decisions(i.data))
            judge(problem, baseline, instances[:1] if baseline.costly else instances)


def corruptions(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Wrong whatever the array means: numbers of jobs, places or times."""
    other = np.int64 if array.dtype.kind == "f" else np.float64
    yield "another type", array.astype(other)
    yield "a narrower type", array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    yield "an entry less", array[:-1].copy()
    yield "an entry more", np.concatenate([array, array[-1:]])
    yield "no entry", array[:0].copy()
    yield "another axis", array[..., None].copy()
    missing = array.astype(np.float64)
    missing.flat[-1] = np.nan
    yield "a NaN", missing
    for position, value, what in (
        (0, -1, "a negative entry"),
        (-1, -1, "a negative last entry"),
        (0, np.iinfo(np.int64).min, "the least integer"),
        (1, array.flat[0], "a repeated entry"),
    ):
        copy = array.copy()
        copy.flat[position] = value
        yield what, copy
    yield "all entries one less", array - array.min() - 1


def rearrangements(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Possibly feasible: then the value is the honest one of another solution, and no bound is beaten."""
    yield "shifted", np.roll(array, 1)
    yield "reversed", np.ascontiguousarray(array[::-1])
    yield "all entries one more", array + 1
    yield "sorted", np.sort(array, axis=None).reshape(array.shape)
    copy = array.copy()
    copy.flat[-1] = np.iinfo(np.int64).max
    yield "the largest integer", copy


def corrupted(problem: Problem, instance: Instance, damage: Any) -> Iterator[tuple[str, Any]]:
    solution = solve(problem, problem.rules[0], instance.data)
    for field, array in zip(solution._fields, solution, strict=True):
        if array.size < 2:  # lists of decisions that may be empty; another probe has some
            continue
        for what, damaged in damage(array):
            if damaged.dtype == array.dtype and np.array_equal(damaged, array):  # all entries are alike
                continue
            yield f"{what} in {field} of {instance.name}", solution._replace(**{field: damaged})


def test_each_field_of_a_solution_is_damaged_somewhere(problem: Problem) -> None:
    solutions = [solve(problem, problem.rules[0], instance.data) for instance in problem.probes()]
    for field in solutions[0]._fields:
        assert any(getattr(solution, field).size >= 2 for solution in solutions), field


def test_verify_refuses_every_corruption(problem: Problem) -> None:
    for instance in problem.probes():
        for what, solution in corrupted(problem, instance, corruptions):
            with pytest.raises(Infeasible) as caught:
                problem.verify(instance.data, solution)
                pytest.fail(f"verify accepts {what}")
            assert str(caught.value)


def test_rearranged_solutions_are_refused_or_beat_no_bound(problem: Problem) -> None:
    for instance in problem.probes():
        for what, solution in corrupted(problem, instance, rearrangements):
            try:
                problem.verify(instance.data, solution)
            except Infeasible:
                continue
            assert not (found := beaten_bound(problem, instance, solution)), f"{what}: {found}"


def hooks_only(problem: Problem) -> None:
    if problem.form != "hooks":
        pytest.skip("candidates are whole programs: there are no hooks to compile")


@pytest.mark.parametrize("value", ["math.nan", "math.inf", "-math.inf"])
def test_non_finite_scores_raise_in_every_decoder(problem: Problem, value: str) -> None:
    hooks_only(problem)
    source = "import math\n" + "".join(
        f"\ndef {hook.name}({', '.join(hook.arguments)}):\n    return {value}\n" for hook in problem.hooks
    )
    program = compile_hooks(source, problem)
    for decoder in problem.simulators:
        with pytest.raises(NonFiniteScore):
            simulate(problem, decoder, problem.probes()[0].data, program)


@cache
def plain_python(problem_name: str) -> Any:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).with_name("plain_python.py")), problem_name]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_compiled_and_plain_simulations_agree(problem: Problem) -> None:
    hooks_only(problem)
    for rule in problem.rules:
        for decoder, expected in plain_python(problem.name)[rule.name]["solutions"].items():
            for probe, plain in zip(problem.probes(), expected, strict=True):
                solution = solve(problem, rule, probe.data, decoder)
                assert [array.tolist() for array in solution] == plain, f"{rule.name}, {decoder}, {probe.name}"


def test_compiled_and_plain_hooks_agree(problem: Problem) -> None:
    hooks_only(problem)
    positions = {hook.name: i for i, hook in enumerate(problem.hooks)}
    for rule in problem.rules:
        program = compiled(problem.name, rule.name)
        calls = plain_python(problem.name)[rule.name]["calls"]
        assert len(calls) >= 50
        for name, arguments, value in calls:
            hook = problem.hooks[positions[name]]
            typed = [t(*fields) for t, fields in zip(hook.arguments.values(), arguments, strict=True)]
            found = program.hooks[positions[name]](*typed, program.theta)
            assert found == pytest.approx(value, rel=1e-12, abs=1e-300), f"{rule.name} on {typed}"


def test_reading_what_is_not_there_is_a_bad_instance(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BadInstance, match="missing"):
        problem.read(tmp_path / "missing")
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(BadInstance, match="empty"):
        problem.read(empty)
    with pytest.raises(BadInstance):
        (tmp_path / "folder").mkdir()
        problem.read(tmp_path / "folder")
