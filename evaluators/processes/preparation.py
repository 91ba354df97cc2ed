"""What a zygote gets ready before it forks: imports, instances, compiled simulators."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Numba imports these where it finds them, and each costs every fork its share.
_UNNEEDED = ("yaml", "cffi")
# Likewise, for products of matrices; a problem whose kernels make any has imported it itself.
_ALGEBRA = ("scipy.linalg",)


@dataclass
class Ready:
    """What the zygote hands to workers."""

    settings: Mapping[str, Any]
    live: Callable[..., Any]  # the life of a worker
    task: Callable[..., bytes]  # what it does with a program
    prepared: Any  # Prepared of worker.py where programs are hooks, else what their own module wants
    layout: list[tuple[str, int]] = field(default_factory=list)  # dtype and dimensions of each array of a solution
    compiled: bool = False  # simulators were not on disk yet: memory is what the compiler left of it

    def order(self, split: str, probe: bool, mode: str, timeout_s: float) -> Any:
        """What one worker is asked for."""
        from evaluators.processes.worker import Order

        return Order(split, probe, timeout_s, self.settings["memory_bytes"], self.settings["weak"], mode)

    def load(self, split: str) -> None:
        """Read or make the instances of a split."""
        from evaluators import splits

        found = splits.load(self.prepared.problem, split, self.settings["sets"], self.settings["share"])
        self.prepared.splits[split] = self.cases(found)

    def cases(self, instances: Any) -> list[Any]:
        """Instances with the compiled simulator of each."""
        from evaluators.compiler.compile import simulator
        from evaluators.processes.worker import Case

        problem, decoder = self.prepared.problem, self.settings["decoder"]
        return [Case(i.name, i.data, simulator(problem, decoder, i.data)) for i in instances]


def prepare(settings: Mapping[str, Any]) -> Ready:
    """Import what runs programs; where they are hooks, also load instances and compile what all share."""
    if "prepared" in settings:  # programs bring all they need
        home, task = _task(settings)
        return Ready(settings, home.live, task, home.prepare(settings["prepared"]))
    sys.meta_path.insert(0, _Without(_UNNEEDED))
    problem = importlib.import_module(settings["module"]).PROBLEM
    sys.meta_path.insert(0, _Without(_ALGEBRA))
    from evaluators.processes import worker

    _, task = _task(settings)
    ready = Ready(settings, worker.live, task, worker.Prepared(problem))
    ready.prepared.probes = ready.cases(problem.probes())
    for split in settings["splits"]:
        ready.load(split)
    _warm_up(ready)
    return ready


def _task(settings: Mapping[str, Any]) -> tuple[Any, Callable[..., bytes]]:
    module, _, function = settings["task"].partition(":")
    home = importlib.import_module(module)
    return home, getattr(home, function)


def _warm_up(ready: Ready) -> None:
    """Run through all that workers will, so that they import nothing and find most of it done."""
    from evaluators.compiler import native, warmup
    from evaluators.compiler.compile import compile_hooks, draft, solution_layout
    from evaluators.processes import worker

    prepared, settings = ready.prepared, ready.settings
    problem, probes = prepared.problem, prepared.probes
    compile_hooks(warmup.source(problem), problem)
    native.prepare()
    prepared.splits["probes"] = probes
    for rule in problem.rules[:1]:
        reply = worker.evaluate(
            draft(rule.source, problem), ready.order("probes", True, "once", settings["timeout_s"]), prepared
        )
        assert reply[:1] == b"S", f"the baseline {rule.name} fails on the probes: {reply!r}"
        # Measures are compiled on first use too, and tuning runs them in workers.
        worker.losses(probes[:1], compile_hooks(rule.source, problem), problem)
    del prepared.splits["probes"]
    ready.layout = solution_layout(problem, settings["decoder"], probes[0].data)
    ready.compiled = bool(problem.simulators[settings["decoder"]].stats.cache_misses)


class _Without:
    """Has imports of some modules fail."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse these; None leaves any other to whoever finds it."""
        if name in self._names:
            raise ModuleNotFoundError(f"the zygote does without {name}", name=name)
