"""Random programs of scalars for the one-machine problem: every construct that is lowered, types known."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

FIELDS = ("job.duration", "job.weight", "machine.now", "machine.jobs")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


UNARY = _words(
    "acos acosh asin asinh atan atanh cos cosh degrees erf erfc exp expm1 fabs lgamma log log10 log1p log2 radians "
    "sin sinh sqrt tan tanh"
)
NUMPY_UNARY = _words(
    "arccos arcsin arctan ceil cos cosh exp expm1 floor log log10 log1p log2 rint sign sin sinh sqrt square tan tanh "
    "trunc abs"
)
FLOATS = (0.0, -0.0, 0.5, 1.0, 2.0, -3.0, 1e-300, 1e300, 7.25, 10.0)
KINDS = _words("arith arith arith mixed neg call np two minmax if and power root parameter helper")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class Writer:
    """Draws expressions of a type, given which names exist."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.floats: list[str] = []  # names that may be read
        self.integers: list[str] = []

    def pick(self, options):
        return self.draw(st.sampled_from(options))

    def float(self, depth: int) -> str:
        if depth == 0 or self.draw(st.integers(0, 4)) == 0:
            leaves = [*FIELDS, *FIELDS, "A", "K", *self.floats, *map(repr, FLOATS)]
            return self.pick(leaves)
        f, i = partial(self.float, depth - 1), partial(self.integer, depth - 1)
        match self.pick(
            [
                "arith",
                "arith",
                "arith",
                "mixed",
                "neg",
                "call",
                "np",
                "two",
                "minmax",
                "if",
                "and",
                "power",
                "root",
                "parameter",
                "helper",
            ]
        ):
            case "arith":
                return f"({f()} {self.pick(['+', '-', '*', '/', '//', '%'])} {f()})"
            case "mixed":
                left, right = self.pick([(f(), i()), (i(), f())])
                return f"({left} {self.pick(['+', '-', '*', '/', '//', '%'])} {right})"
            case "neg":
                return f"(-{f()})"
            case "call":
                return f"math.{self.pick(UNARY)}({f()})"
            case "np":
                return f"np.{self.pick(NUMPY_UNARY)}({f()})"
            case "two":
                name = self.pick(["math.atan2", "math.hypot", "np.maximum", "np.minimum", "np.arctan2"])
                return f"{name}({f()}, {f()})"
            case "minmax":
                return f"{self.pick(['max', 'min'])}({f()}, {self.pick([f(), i()])}, {f()})"
            case "if":
                return f"({f()} if {self.test(depth - 1)} else {f()})"
            case "and":
                return f"({self.pick(FIELDS)} {self.pick(['and', 'or'])} {f()})"
            case "power":
                return f"({self.pick([*FIELDS, *self.floats])} ** {self.pick([0, 1, 2, 3, 7])})"
            case "root":
                exponent = self.pick(["2.0", "0.5", "-1.0", "1.0", "0.0", "3.0", "1.5", "-0.5", *FIELDS, "A"])
                return f"({self.pick([*FIELDS, 'A'])} ** {exponent})"
            case "parameter":
                return f"({self.pick(['2.0', '10.0', '0.3'])} ** {self.pick([*FIELDS, 'A'])})"
            case _:
                return f"helper({f()}, {self.pick([i(), i(), '2'])}, job)" if "helper" in self.functions else f()

    functions: tuple[str, ...] = ()

    def integer(self, depth: int) -> str:
        if depth == 0 or self.draw(st.integers(0, 2)) == 0:
            return self.pick(["0", "1", "2", "-3", "7", "N", *self.integers])
        f, i = partial(self.float, depth - 1), partial(self.integer, depth - 1)
        match self.pick(["arith", "arith", "int", "floor", "abs", "minmax", "if", "neg"]):
            case "arith":
                return f"(N * {i()} {self.pick(['+', '-', '*', '//', '%'])} {i()})"
            case "int":
                return f"{self.pick(['int', 'round'])}({self.pick(FIELDS)})"
            case "floor":
                return f"math.{self.pick(['floor', 'ceil', 'trunc'])}({self.pick(FIELDS)} * {f()})"
            case "abs":
                return f"abs({i()})"
            case "minmax":
                return f"{self.pick(['max', 'min'])}({i()}, {i()})"
            case "if":
                return f"({i()} if {self.test(depth - 1)} else {i()})"
            case _:
                return f"(-(N + {i()}))"

    def test(self, depth: int) -> str:
        f, i = partial(self.float, max(depth - 1, 0)), partial(self.integer, max(depth - 1, 0))
        compare = f"{self.pick(FIELDS)} {self.pick(COMPARISONS)} {self.pick([f, i])()}"
        match self.pick(["plain", "plain", "chain", "both", "not", "truth", "nan"]):
            case "chain":
                return f"({compare} {self.pick(COMPARISONS)} {self.pick([f, i])()})"
            case "both" if depth > 0:
                return f"({self.test(depth - 1)} {self.pick(['and', 'or'])} {self.test(depth - 1)})"
            case "not":
                return f"(not {compare})"
            case "truth":
                return self.pick(FIELDS)
            case "nan":
                return f"math.{self.pick(['isnan', 'isinf', 'isfinite'])}({self.pick(FIELDS)} / {f()})"
            case _:
                return f"({compare})"

    def block(self, indent: str, depth: int, loop: bool) -> list[str]:
        """One to three statements; names assigned here are not read outside."""
        known = (list(self.floats), list(self.integers))
        lines: list[str] = []
        for _ in range(self.draw(st.integers(1, 3))):
            lines += self.statement(indent, depth, loop)
        self.floats, self.integers = known
        return lines

    def statement(self, indent: str, depth: int, loop: bool) -> list[str]:
        kinds = ["float", "float", "integer", "update", "pair"]
        kinds += ["if", "for", "while", "return"] if depth > 0 else []
        kinds += ["leave"] if loop else []
        match self.pick(kinds):
            case "float":
                name = f"x{self.draw(st.integers(0, 3))}"
                line = f"{indent}{name} = {self.float(2)}"
                self.floats.append(name)
                return [line]
            case "integer":
                name = f"n{self.draw(st.integers(0, 1))}"
                line = f"{indent}{name} = {self.integer(2)}"
                self.integers.append(name)
                return [line]
            case "pair":
                line = f"{indent}x4, x5 = {self.float(1)}, {self.float(1)}"
                self.floats += ["x4", "x5"]
                return [line]
            case "update":
                return [f"{indent}total {self.pick(['+=', '-=', '*=', '/='])} {self.float(2)}"]
            case "if":
                lines = [f"{indent}if {self.test(2)}:", *self.block(indent + "    ", depth - 1, loop)]
                if self.draw(st.booleans()):
                    lines += [f"{indent}elif {self.test(1)}:", *self.block(indent + "    ", depth - 1, loop)]
                    lines += [f"{indent}else:", *self.block(indent + "    ", depth - 1, loop)]
                return lines
            case "for":
                bounds = self.pick(["3", "1, 4", "4, 0, -1", "min(abs(int(job.weight)), 3)"])
                name = f"i{depth}"
                self.integers.append(name)
                lines = [f"{indent}for {name} in range({bounds}):", *self.block(indent + "    ", depth - 1, True)]
                self.integers.remove(name)
                return lines
            case "while":
                name = f"w{depth}"
                lines = [f"{indent}{name} = 0", f"{indent}while {name} < 3 and {self.test(1)}:"]
                return [*lines, f"{indent}    {name} += 1", *self.block(indent + "    ", depth - 1, True)]
            case "leave":
                return [f"{indent}if {self.test(0)}:", f"{indent}    {self.pick(['break', 'continue'])}"]
            case _:
                return [f"{indent}if {self.test(1)}:", f"{indent}    return {self.float(2)}"]

    def function(self, head: str) -> list[str]:
        helper = head.startswith("def helper")
        self.floats, self.integers = (["x"], ["n"]) if helper else ([], [])
        lines = [head, f"    total = {self.float(1)}"]
        self.floats.append("total")
        for _ in range(self.draw(st.integers(1, 3))):
            lines += self.statement("    ", 2, False)
        return [*lines, f"    return total + {self.float(2)}", ""]


@st.composite
def programs(draw) -> str:
    """Source of a program with a helper, a parameter and two constants."""
    writer = Writer(draw)
    lines = ["import math", "import numpy as np", "A = param(1.25, low=0.0, high=9.0)", "K = 3.5", "N = 3", ""]
    helper = writer.function("def helper(x, n, job):")
    helper = [line.replace("machine.now", "job.duration").replace("machine.jobs", "job.weight") for line in helper]
    writer.functions = ("helper",)
    return "\n".join([*lines, *helper, *writer.function("def priority(job, machine):")])
