"""The page on the language, the prompt and admission say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluators.admission import language

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
PROMPT = (ROOT / "evolve" / "prompts" / "hooks.md").read_text(encoding="utf-8")


def listed(start: str) -> set[str]:
    """Names of one list on the page."""
    text = PAGE[PAGE.index(start) + len(start) :].split("\n\n")[0]
    return set(re.findall(r"\w+", text.replace("and the constants", "")))


def test_the_page_lists_every_function_and_constant():
    assert listed("Built-in functions:") == language.BUILTINS
    assert listed("Of `math`:") == language.MATH | language.CONSTANTS["math"]
    assert listed("Of `np`:") == language.NUMPY | language.CONSTANTS["np"]


LIMITS = (language.MAX_CHARACTERS, language.MAX_NODES, language.MAX_DEPTH, language.MAX_FUNCTIONS)


@pytest.mark.parametrize("limit", LIMITS)
def test_the_page_states_every_limit(limit: int):
    assert f"{limit:,} " in PAGE


def test_prompts_take_their_lists_from_admission():
    for name in ("BUILTINS", "MATH", "NUMPY", 'CONSTANTS["math"]', 'CONSTANTS["np"]'):
        assert f"language.{name} | sort" in PROMPT


REFUSED = (
    "lists",
    "dictionaries",
    "comprehensions",
    "strings",
    "lambda",
    "classes",
    "try",
    "raise",
    "with",
    "match",
    "slices",
)


@pytest.mark.parametrize("form", REFUSED)
def test_prompts_name_what_models_are_used_to_and_is_refused(form: str):
    line = next(line for line in PROMPT.splitlines() if line.startswith("- Not admitted:"))
    assert form in line
