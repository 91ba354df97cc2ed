"""A rule that looks at everything: what it decides changes with every field that it is shown."""

from __future__ import annotations

from problems.problem import Problem


def nosy(problem: Problem) -> str:
    """Source of a program whose hooks depend on all fields of their arguments."""
    parts = ["import math"]
    for hook in problem.hooks:
        fields = [f"{name}.{field}" for name, argument in hook.arguments.items() for field in vars(argument)["_fields"]]
        terms = [f"math.sin({0.37 * k + 1.1:.2f} * {field})" for k, field in enumerate(fields)]
        parts.append(f"def {hook.name}({', '.join(hook.arguments)}):\n    return {' + '.join(terms)}\n")
    return "\n\n\n".join(parts)
