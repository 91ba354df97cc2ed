"""Published schedulers that preempt, as far as the five hooks of serving/preemption can express them.

FlowPrefill and QLLM cut steps; ALISE, FastSwitch and vLLM's priorities preempt between steps. FastSwitch's grouped
copies are a property of the host here (blocks per copy); its asynchronous copies are not modelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._batching.rules import arrival, budget_2048, whole_prompts
from problems.serving._preemption.views import Cache, Step
from problems.serving._server.views import Request, Server


def if_it_fits(request: Request, server: Server, cache: Cache) -> float:
    """Admit if the blocks are free and 1 % stays free; nobody is preempted for it."""
    return 1.0 if cache.needed + 0.01 * server.capacity <= server.free else -1.0


def in_place_of_others(request: Request, server: Server, cache: Cache) -> float:
    """Admit, in place of those that stand behind it if need be."""
    return 2.0


def short_ones_together(request: Request, server: Server, cache: Cache) -> float:
    """Admit up to 2048 prompt tokens at a time, and a longer prompt alone, so that its step can be cut for others."""
    if server.prefilling > 0.0 and server.prefill_left + request.prefill_left > 2048.0:
        return -1.0
    return 1.0 if cache.needed + 0.01 * server.capacity <= server.free else -1.0


def classes_apart(request: Request, server: Server, cache: Cache) -> float:
    """Admit best effort only where no prompt is in progress, and urgent requests in place of others if need be."""
    if request.priority > 0.0 and server.prefilling > 0.0:
        return -1.0
    return 2.0


def by_class(request: Request, server: Server) -> float:
    """The most urgent class first, and in it who came first."""
    return 1e6 * request.priority - request.waiting


def earliest_feasible_deadline(request: Request, server: Server) -> float:
    """Least slack first; who is late, or will be whatever happens, goes last."""
    service = request.prefill_left * server.token_time
    if request.generated == 0.0 and request.slack < service:
        return 1e7 + service
    return request.slack


def remaining_time_levels(request: Request, server: Server) -> float:
    """Levels of doubling predicted time left; 5 s of waiting lift a request by a level; in a level, who came first."""
    left = request.prefill_left * server.token_time + request.predicted_left * max(server.decode_step, 1e-3)
    level = math.floor(math.log2(max(left, 0.125))) - math.floor(request.queued / 5.0)
    return level - 1e-6 * request.waiting


def never(request: Request, step: Step) -> float:
    """Steps run to their end."""
    return -1.0


def earlier_deadline(request: Request, step: Step) -> float:
    """For a prompt whose deadline is earlier than all in the step, and can still be met."""
    service = request.prefill_left * step.token_time + 0.5 * step.cost
    if request.generated > 0.0 or request.slack < service:
        return -1.0
    return 1.0 if request.slack < step.slack else -1.0


def more_urgent_class(request: Request, step: Step) -> float:
    """For whatever is of a more urgent class than all in the step, until it is done."""
    return 1.0 if request.priority < step.priority else -1.0


def recompute(request: Request, cache: Cache) -> float:
    """Give the cache up."""
    return -1.0


def swap(request: Request, cache: Cache) -> float:
    """Keep the cache on the host."""
    return 1.0


_VLLM = 'Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP'
_PRIORITY = f"vLLM's priority scheduling; {_VLLM}"
_FLOW = '"FlowPrefill: preemption of prefill at operator boundaries" (2026)'
_QLLM = 'Siddique et al. (2025), "Priority-aware preemptive scheduling for mixed-priority workloads in MoE inference"'
_ALISE = 'Zhao and Wang (2024), "ALISE: accelerating large language model serving with speculative scheduling", ICCAD'
_FAST = 'Shen et al. (2024), "FastSwitch: optimizing context switching efficiency in fairness-aware LLM serving"'

Order = Callable[[Request, Server], float]
Admit = Callable[[Request, Server, Cache], float]
Chunk = Callable[[Server], float]
Cut = Callable[[Request, Step], float]
Save = Callable[[Request, Cache], float]


def _rule(
    name: str,
    title: str,
    citation: str,
    *,
    order: Order,
    admit: Admit = in_place_of_others,
    chunk: Chunk = budget_2048,
    cut: Cut = never,
    save: Save = recompute,
) -> Baseline:
    return Baseline(
        name, title, citation, hooks={"order": order, "admit": admit, "chunk": chunk, "cut": cut, "save": save}
    )


RULES = (
    _rule("vllm", "vLLM v1: FCFS, 2048 tokens a step", _VLLM, order=arrival, admit=if_it_fits),
    _rule("fcfs_whole", "FCFS, whole prompts", _VLLM, order=arrival, admit=if_it_fits, chunk=whole_prompts),
    _rule("priority", "Classes, preemption by recomputation", _PRIORITY, order=by_class),
    _rule(
        "flowprefill",
        "FlowPrefill: least slack first, steps cut",
        _FLOW,
        order=earliest_feasible_deadline,
        admit=short_ones_together,
        chunk=whole_prompts,
        cut=earlier_deadline,
    ),
    _rule(
        "qllm",
        "QLLM: urgent class first, steps cut",
        _QLLM,
        order=by_class,
        admit=classes_apart,
        chunk=whole_prompts,
        cut=more_urgent_class,
    ),
    _rule("alise", "ALISE: levels of predicted time left, swaps", _ALISE, order=remaining_time_levels, save=swap),
    _rule("fastswitch", "FastSwitch: classes, swaps", _FAST, order=by_class, save=swap),
)
