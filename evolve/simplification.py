"""The champion in fewer terms: parts are cut as long as every decision on train and valid stays the same.

Search leaves terms behind that once mattered, or never did, and a shorter rule is easier to read, to trust
and to run. One cut at a time replaces an operation by one of its operands, or a branch by one of its arms;
what remains is tidied. A cut stays if all solutions of train and valid are the same to the last number, so nothing
that chose the champion changes; what it does elsewhere, the report says.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.outcome import Failure
from evolve.loop import Search
from evolve.program import Program
from evolve.proposers._tidy import render, size, tidy
from evolve.proposers._trees import Tree
from problems.problem import Problem

ORIGIN = "simplified"
_MOST = 200  # cuts that are tried
_SHARE = 10  # and no more than one for so many evaluations of the run: a short run ends soon
_SPLITS = ("train", "valid")


async def simplify_champion(search: Search) -> Program | None:
    """Simplify a run's champion and journal what came of it, unless an earlier session did.

    Returns
    -------
    The shorter program, or None if there is none: also where the champion is a baseline.
    """
    champion = search.found.candidates[search.found.champion].program
    if search.problem.form != "hooks" or champion.origin == "baseline":
        return None
    for program in search.store.programs():
        if program.origin == ORIGIN and program.parents == (champion.id,):
            return program
    search.notify("simplifying the champion")
    tries = min(_MOST, int(search.budget.spent().get("evaluations", 0)) // _SHARE)
    source = await simplified(search.evaluator, champion.source, tries)
    if source == champion.source:
        return None
    thought = "the same decisions on train and valid in fewer terms"
    program = Program(search.attempts.number(), source, ORIGIN, "simplify", (champion.id,), thought)
    search.attempts.making.journal(program)
    return program


async def simplified(evaluator: Evaluator, source: str, tries: int) -> str:
    """The shortest program that so many tries find whose decisions on train and valid are those of ``source``.

    Tries are made several at a time, and count as if they were made one after another, so that the
    result does not depend on the number of workers.
    """
    wanted = [await evaluator.solve(source, split) for split in _SPLITS]
    solved = [found for found in wanted if not isinstance(found, Failure)]
    if len(solved) < len(_SPLITS):
        return source
    known = {source}
    going = True
    while going and tries > 0:
        going = False
        left = [text for text in cuts(source, evaluator.problem) if text not in known][:tries]
        for batch in _batches(left, _AT_ONCE):
            same = await asyncio.gather(*(_decides_alike(evaluator, text, solved) for text in batch))
            first = next((k for k, alike in enumerate(same) if alike), None)
            tested = batch if first is None else batch[: first + 1]
            tries -= len(tested)
            known.update(tested)
            if first is not None:
                source, going = batch[first], True
                break
    return source


_AT_ONCE = 4


def _batches(texts: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), count):
        yield texts[start : start + count]


async def _decides_alike(evaluator: Evaluator, source: str, wanted: Sequence[list[Any]]) -> bool:
    """Whether a program's solutions of train and valid are the wanted ones."""
    for split, solutions in zip(_SPLITS, wanted, strict=True):
        found = await evaluator.solve(source, split)
        if isinstance(found, Failure) or not all(map(_equal, found, solutions)):
            return False
    return True


def _equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def cuts(source: str, problem: Problem) -> list[str]:
    """Programs that lack a part of this one, the shortest first (ties: in the order of the parts).

    The first is the program itself, tidied, if that makes it shorter.
    """
    most = terms(source, problem)
    found: dict[str, int] = {}
    for module in (ast.parse(source), *_cut_modules(source)):
        text = ast.unparse(ast.fix_missing_locations(module)) + "\n"
        try:
            tree = Tree(text, problem)
        except SyntaxError:  # a block that lost its last statement
            continue
        tidy(tree)
        tree.refresh()
        if size(tree) < most:
            found.setdefault(render(tree.module), size(tree))
    return sorted(found, key=lambda text: found[text])


def terms(source: str, problem: Problem) -> int:
    """Number of names, constants and operations."""
    return size(Tree(source, problem))


def _cut_modules(source: str) -> Iterator[ast.Module]:
    number = 0
    while True:
        cutter = _Cutter(number)
        module = cutter.visit(ast.parse(source))
        if cutter.left >= 0:
            return
        yield module
        number += 1


class _Cutter(ast.NodeTransformer):
    """Makes the cut of a number, counted over all nodes; ``left`` is negative once it is made."""

    def __init__(self, number: int) -> None:
        self.left = number

    def visit(self, node: ast.AST) -> Any:
        if self.left < 0:
            return node
        parts = _parts(node)
        if self.left < len(parts):
            part = parts[self.left]
            self.left = -1
            return part
        self.left -= len(parts)
        return self.generic_visit(node)


def _parts(node: ast.AST) -> list[Any]:
    """What may stand for a node: operands, arguments, arms."""
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.BoolOp():
            return list(node.values)
        case ast.Call(func=ast.Name(id="param")):
            return []
        case ast.Call():
            return list(node.args)
        case ast.If():
            return [node.body, node.orelse or ast.Pass()]
    return []
