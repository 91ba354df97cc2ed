"""Expressions of a lowered function: each becomes LLVM instructions and a value."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from numba.core import types

from evaluators.admission.language import CONSTANTS
from evaluators.compiler._lower_values import (
    BINARY,
    BOOLEAN,
    BUILTINS,
    COMPARE,
    FLOAT,
    INTEGER,
    KEEP_VARYING,
    LARGEST_POWER,
    LEFT_TO_NUMBA,
    MODULES,
    POWERS,
    UNARY,
    Emitter,
    NotLowered,
    Value,
    constant,
    literal,
)
from evaluators.compiler.primitives import Operation, Primitive, value_type


class Callees(Protocol):
    """The functions of the program, as a function that calls them sees them."""

    def call(self, name: str, arguments: Sequence[Any]) -> tuple[str, Any]:
        """LLVM name and return type of a function for arguments of these types."""

    def use(self, operation: Operation, arguments: tuple[Any, ...]) -> Primitive:
        """An operation on arguments of these types."""


class Expressions(Emitter):
    """Emits the instructions of one function's expressions, in order."""

    def __init__(self, callees: Callees, constants: Mapping[str, Any], indices: Mapping[str, int]) -> None:
        super().__init__()
        self._callees = callees
        self._constants = constants
        self._indices = indices  # of parameters in theta
        self.names: dict[str, Value] = {}  # arguments, by value
        self.slots: dict[str, Value] = {}  # local variables, by address

    def apply(self, operation: Operation, *values: Value) -> Value:
        """One operation; numba's typing says what it returns, and converts the arguments."""
        found = self._callees.use(operation, tuple(v.type for v in values))
        varying = operation in KEEP_VARYING and any(v.varying for v in values)
        if found.body is None:
            return self._operate(found.name, found.returns, values, varying)
        return Value(self.write_out(found.body, [v.text for v in values]), found.returns, varying)

    def _operate(self, name: str, returns: Any, values: Sequence[Value], varying: bool = False) -> Value:
        given = ", ".join(f"{value_type(v.type)} {v.text}" for v in values)
        return self.emit(f'call {value_type(returns)} @"{name}"({given})', returns, varying)

    def invoke(self, name: str, returns: Any, values: Sequence[Value]) -> Value:
        """Call a function of the program; every one of them has theta as its last argument."""
        return self._operate(name, returns, [*values, Value("%theta", types.voidptr)])

    def expression(self, node: ast.expr) -> Value:
        """Emit an expression; what no case names is left to numba."""
        if (known := literal(node)) is not None:
            return constant(known)
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=ast.Name(id=owner), attr=field):
                return self._attribute(owner, field)
            case ast.BinOp(op=ast.Pow()):
                return self._power(operator.pow, node.left, node.right)
            case ast.BinOp() if type(node.op) in BINARY:
                return self.apply(BINARY[type(node.op)], self.expression(node.left), self.expression(node.right))
            case ast.UnaryOp(op=ast.Not()):
                return self.apply(operator.not_, self.test(node.operand))
            case ast.UnaryOp() if type(node.op) in UNARY:
                return self.apply(UNARY[type(node.op)], self.expression(node.operand))
            case ast.Compare():
                return self._chain(node)
            case ast.BoolOp():
                return self._either(node, self.expression)
            case ast.IfExp():
                return self._conditional(node)
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(function, arguments)
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                return self._element(name, literal(index))
        raise NotLowered(type(node).__name__)

    def test(self, node: ast.expr) -> Value:
        """Emit a condition: the truth of an expression."""
        value = self._either(node, self.test) if isinstance(node, ast.BoolOp) else self.expression(node)
        return self._truth(value)

    def _truth(self, value: Value) -> Value:
        return value if value.type == BOOLEAN else self.apply(bool, value)

    def _either(self, node: ast.BoolOp, evaluate: Callable[[ast.expr], Value]) -> Value:
        """``and``, ``or``: the first operand that decides, or the last."""
        *others, last = node.values
        end, slot = self.fresh("end"), None
        for operand in others:
            if literal(operand) is not None:
                raise NotLowered("a literal as a condition")  # Python's compiler removes some of them
            value = evaluate(operand)
            slot = self._keep(value, slot)
            more = self.fresh("more")
            self.branch(self._truth(value), *((more, end) if isinstance(node.op, ast.And) else (end, more)))
            self.label(more)
        slot = self._keep(evaluate(last), slot)
        self.jump(end)
        self.label(end)
        return self.load(slot)

    def _keep(self, value: Value, slot: Value | None) -> Value:
        slot = slot or self.slot(value.type)
        if value.type != slot.type:
            raise NotLowered("and, or of different types")
        self.store(value, slot)
        return slot

    def _chain(self, node: ast.Compare) -> Value:
        """``a < b < c``: each operand once, and no further than the first comparison that fails."""
        if any(type(op) not in COMPARE for op in node.ops):
            raise NotLowered("this comparison")
        left, right = self.expression(node.left), self.expression(node.comparators[0])
        result = self.apply(COMPARE[type(node.ops[0])], left, right)
        if len(node.ops) == 1:
            return result
        end, slot = self.fresh("end"), self.slot(BOOLEAN)
        self.store(result, slot)
        for op, comparator in zip(node.ops[1:], node.comparators[1:], strict=True):
            more = self.fresh("more")
            self.branch(result, more, end)
            self.label(more)
            left, right = right, self.expression(comparator)
            result = self.apply(COMPARE[type(op)], left, right)
            self.store(result, slot)
        self.jump(end)
        self.label(end)
        return self.load(slot)

    def _conditional(self, node: ast.IfExp) -> Value:
        """``a if test else b``."""
        condition = self.test(node.test)
        then, otherwise, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.branch(condition, then, otherwise)
        arms = []
        for label, arm in ((then, node.body), (otherwise, node.orelse)):
            self.label(label)
            arms.append((self.expression(arm), len(self.lines)))
            self.lines.append("")  # stored here, once the type is known
            self.jump(end)
        kinds = {value.type for value, _ in arms}
        # Numba drops an arm that it knows is never taken, and the other one alone says the type.
        if kinds not in ({FLOAT}, {INTEGER}, {BOOLEAN}) and not (kinds == {FLOAT, INTEGER} and condition.varying):
            raise NotLowered("arms of different types")
        slot = self.slot(FLOAT if FLOAT in kinds else kinds.pop())
        for value, place in arms:
            lines, self.lines = self.lines, []
            self.store(self.convert(value, slot.type), slot)
            lines[place] = "\n".join(self.lines)
            self.lines = lines
        self.label(end)
        return self.load(slot)

    def convert(self, value: Value, type_: Any) -> Value:
        """An integer as a float where one is wanted; no other conversion."""
        if value.type == type_:
            return value
        if (value.type, type_) != (INTEGER, FLOAT):
            raise NotLowered(f"{value.type} where {type_} is wanted")
        return self.apply(float, value)

    def _name(self, name: str) -> Value:
        if name in self.slots:
            return self.load(self.slots[name])
        if name in self.names:
            return self.names[name]
        if name in self._indices:
            address = self.emit(f"getelementptr double, ptr %theta, i64 {self._indices[name]}", FLOAT)
            return self.emit(f"load double, ptr {address.text}", FLOAT, varying=True)
        if name in self._constants:
            return constant(self._constants[name])
        raise NotLowered(f"the name {name}")

    def _attribute(self, owner: str, field: str) -> Value:
        record = self.names.get(owner)
        if record is not None and isinstance(record.type, types.NamedUniTuple) and field in record.type.fields:
            position = record.type.fields.index(field)
            return self.emit(f"extractvalue {value_type(record.type)} {record.text}, {position}", FLOAT, varying=True)
        if owner in CONSTANTS and field in CONSTANTS[owner] and not self._is_shadowed(owner):
            return constant(getattr(MODULES[owner][0], field))
        raise NotLowered(f"{owner}.{field}")

    def _is_shadowed(self, name: str) -> bool:
        return name in self.slots or name in self.names

    def _element(self, name: str, index: object) -> Value:
        table = None if self._is_shadowed(name) else self._constants.get(name)
        if not isinstance(table, tuple) or type(index) is not int or not 0 <= index < len(table):
            raise NotLowered("an element")
        return constant(table[index])

    def _call(self, function: ast.expr, arguments: Sequence[ast.expr]) -> Value:
        match function:
            case ast.Name(id="pow") if len(arguments) == 2:
                return self._power(pow, *arguments)
            case ast.Name(id=name) if name in BUILTINS:
                return self.apply(BUILTINS[name], *map(self.expression, arguments))
            case ast.Name(id=name):
                values = [self.expression(argument) for argument in arguments]
                called, returns = self._callees.call(name, [v.type for v in values])
                return self.invoke(called, returns, values)
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in MODULES:
                module, admitted = MODULES[owner]
                operation = getattr(module, name) if name in admitted else None
                if operation in POWERS and len(arguments) == 2:
                    return self._power(operation, *arguments)
                if operation is not None and operation not in LEFT_TO_NUMBA and not self._is_shadowed(owner):
                    return self.apply(operation, *map(self.expression, arguments))
        raise NotLowered("this call")

    def _power(self, operation: Operation, base: ast.expr, exponent: ast.expr) -> Value:
        """A power whose two numbers either stand in the program or are certainly unknown to the optimiser.

        It replaces pow(x, 2.0) by x * x and pow(2.0, x) by exp2(x), which may differ in the last
        bit; where it would see a constant only after some rearrangement, nobody can tell which.
        """
        known, power = literal(base), literal(exponent)
        if isinstance(power, int) and known is None:
            return self._product(self.expression(base), power)
        x, y = self.expression(base), self.expression(exponent)
        decided = (x.varying and (y.varying or power is not None)) or (y.varying and known is not None)
        if (x.type, y.type) != (FLOAT, FLOAT) or not decided:
            raise NotLowered("a power of numbers that may or may not be constants")
        return self.apply(operation, x, y)

    def _product(self, x: Value, power: int) -> Value:
        """Repeated multiplication, in numba's order."""
        if not 0 <= power <= LARGEST_POWER or x.type not in (FLOAT, INTEGER):
            raise NotLowered("this power")
        result = constant(1.0 if x.type == FLOAT else 1)
        while power:
            if power & 1:
                result = self.apply(operator.mul, result, x)
            power >>= 1
            x = self.apply(operator.mul, x, x) if power else x
        return result
