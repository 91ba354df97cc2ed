"""Programs by name and as callables."""

import numpy as np
import pytest

import evolve
from evolve.errors import UserError
from evolve.heuristic import find
from problems import registry
from problems.shop.job_shop import Operation, Shop

PROBLEM = registry.load("shop/job_shop")
OP = Operation(*np.linspace(1.0, 9.0, len(Operation._fields)))
SHOP = Shop(*np.linspace(1.0, 3.0, len(Shop._fields)))


def test_load_heuristic_gives_the_same_numbers_compiled_and_plain(finished):
    compiled = evolve.load_heuristic(finished)
    plain = evolve.load_heuristic(finished, compiled=False)
    assert compiled(OP, SHOP) == pytest.approx(plain(OP, SHOP), rel=1e-12)


def test_a_file_with_helpers_and_parameters_loads(tmp_path):
    path = tmp_path / "rule.py"
    path.write_text(
        "W = param(2.0, low=0.1, high=10.0)\n\n\ndef ratio(a, b):\n    return a / (b + 1.0)\n\n\n"
        "def priority(op, shop):\n    return W * ratio(op.duration, op.tail)\n"
    )
    rule = evolve.load_heuristic(path)
    assert rule.priority(OP, SHOP) == pytest.approx(2.0 * OP.duration / (OP.tail + 1.0))


def test_a_hook_that_is_missing_is_named(tmp_path):
    path = tmp_path / "rule.py"
    path.write_text("def priority(op, shop):\n    return op.duration\n")
    with pytest.raises(AttributeError, match="no hook 'route'; it has priority"):
        _ = evolve.load_heuristic(path).route


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "no file, no RUN:ID and no baseline"),
        (".:x", "not a run folder"),
    ],
)
def test_a_program_that_is_nowhere_is_a_user_error(text, said):
    with pytest.raises(UserError, match=said):
        find(PROBLEM, text)


def test_a_baseline_is_found_by_name_and_a_procedure_has_no_source():
    assert "op.duration" in find(PROBLEM, "spt").source
    assert find(PROBLEM, "best_of_128").source == ""


@pytest.mark.parametrize(
    "record", ["", '# evolve-record: {"problem": "shop/job_shop", "decoder": "x", "objectives": {}}']
)
def test_nothing_of_a_file_is_executed_before_it_is_admitted(tmp_path, record):
    path, trace = tmp_path / "rule.py", tmp_path / "trace"
    path.write_text(f"open({str(trace)!r}, 'w')\ndef priority(op, shop):\n    return op.duration\n{record}\n")
    with pytest.raises(UserError, match="no problem admits it"):
        evolve.load_heuristic(path)
    assert not trace.exists()
