"""Definite assignment: numba reads a variable that was not assigned as zero, Python raises."""

from __future__ import annotations

import ast
from collections.abc import Sequence

Known = frozenset[str]


def maybe_undefined(function: ast.FunctionDef) -> ast.Name | None:
    """The first variable that is read where some path has not assigned it; None if there is none.

    Conservative: what only a loop's body assigns counts as unassigned after the loop.
    """
    arguments = {argument.arg for argument in function.args.args}
    stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    flow = _Flow(stored - arguments)
    flow.block(function.body, frozenset())
    return flow.undefined


class _Flow:
    def __init__(self, variables: set[str]) -> None:
        self._variables = variables
        self.undefined: ast.Name | None = None

    def block(self, statements: Sequence[ast.stmt], known: Known) -> Known | None:
        """Variables assigned after the statements; None if control never gets there."""
        after: Known | None = known
        for statement in statements:
            if after is None:
                return None  # unreachable code reads nothing
            after = self._statement(statement, after)
        return after

    def _statement(self, statement: ast.stmt, known: Known) -> Known | None:
        match statement:
            case ast.Return() | ast.Break() | ast.Continue():
                self._reads(statement, known)
                return None
            case ast.If():
                self._reads(statement.test, known)
                then, otherwise = self.block(statement.body, known), self.block(statement.orelse, known)
                return otherwise if then is None else then if otherwise is None else then & otherwise
            case ast.While():
                self._reads(statement.test, known)
                self.block(statement.body, known)
                return known
            case ast.For():
                self._reads(statement.iter, known)
                self.block(statement.body, known | _stored(statement.target))
                return known
            case ast.AugAssign():
                # x += 1 reads x, though the tree calls it a store
                if isinstance(statement.target, ast.Name):
                    self._check(statement.target, known)
        self._reads(statement, known)
        return known | _stored(statement)

    def _reads(self, node: ast.AST, known: Known) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                self._check(part, known)

    def _check(self, name: ast.Name, known: Known) -> None:
        if self.undefined is None and name.id in self._variables and name.id not in known:
            self.undefined = name


def _stored(node: ast.AST) -> Known:
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
