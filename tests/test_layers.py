"""Imports go one way, and some libraries have one importer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "problems": {"problems"},
    "evaluators": {"problems", "evaluators"},
    "evolve": {"problems", "evaluators", "evolve"},
}
ONLY_IMPORTER = {
    "litellm": {"evolve/llm.py"},
    "openai": {"evolve/llm.py"},
    "tiktoken": {"evolve/tokens.py"},
    # salvage reads what the database cannot
    "sqlite3": {"evolve/database.py", "evolve/salvage.py"},
}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and first part of every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}, line {node.lineno}: relative import"
            yield node.lineno, (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_from_evolve_to_evaluators_to_problems(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for line, module in imports(file):
            assert module not in MAY_IMPORT or module in MAY_IMPORT[package], f"{file}, line {line} imports {module}"
            assert module not in ("tests", "benchmarks"), f"{file}, line {line} imports {module}"


@pytest.mark.parametrize(("library", "importers"), ONLY_IMPORTER.items())
def test_a_library_behind_one_file_is_imported_there_only(library, importers):
    for package in MAY_IMPORT:
        for file in (ROOT / package).rglob("*.py"):
            if library in {module for _, module in imports(file)}:
                assert file.relative_to(ROOT).as_posix() in importers


def test_no_problem_imports_another_family():
    families = {path.name for path in (ROOT / "problems").iterdir() if path.is_dir() and not path.name.startswith("_")}
    for family in families:
        for file in (ROOT / "problems" / family).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for other in families - {family}:
                assert f"problems.{other}" not in text, f"{file} leans on the family {other}"
