from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import problems
from problems import registry
from problems.problem import Problem
from problems.registry import UnknownProblem


def test_names_are_the_paths_of_public_modules_in_order():
    root = Path(problems.__file__).parent
    names = registry.names()
    assert names == sorted(names)
    assert "machine/total_tardiness" in names
    assert all((root / f"{name}.py").is_file() for name in names)
    assert not any(part.startswith("_") for name in names for part in name.split("/"))


def test_listing_names_imports_no_problem():
    code = "import sys; from problems import registry; registry.names(); print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_load_imports_the_problem_of_that_name():
    problem = registry.load("machine/total_tardiness")
    assert isinstance(problem, Problem)
    assert problem.name == "machine/total_tardiness"


@pytest.mark.parametrize("name", ["machine/total_tardines", "total_tardiness"])
def test_an_unknown_name_suggests_the_closest(name):
    with pytest.raises(UnknownProblem, match=r"did you mean 'machine/total_tardiness'\?"):
        registry.load(name)


@pytest.mark.parametrize("name", ["zzz", "", "machine/_decomposition", "../problems/problem"])
def test_what_is_no_problem_is_unknown_and_all_names_are_listed(name):
    with pytest.raises(UnknownProblem, match=r"known: .*machine/total_tardiness"):
        registry.load(name)
