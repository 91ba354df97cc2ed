"""Published schedulers for programs of calls, as far as the three hooks can express them.

Autellix's and SAGA's choice among several servers, Continuum's offloading to the host and KVFlow's prefetching
need more than one server or tier. Calls are preempted where memory runs out, and not, as in Autellix, when
another call becomes more urgent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._programs.views import Call, Context, Server


def call_fcfs(call: Call, server: Server) -> float:
    """First come, first served, call by call."""
    return -call.waiting


def program_fcfs(call: Call, server: Server) -> float:
    """The calls of the program that came first."""
    return -call.age


def least_attained(call: Call, server: Server) -> float:
    """Queues by the program's service, each twice as long as the one before; first come, first served in each."""
    level = float(math.floor(math.log2(1.0 + 8.0 * call.attained / server.mean_service)))
    if call.waiting > 4.0 * (call.attained + call.served + 0.1 * server.mean_service):
        level = 0.0
    return 1e7 * level - call.waiting


def least_critical(call: Call, server: Server) -> float:
    """The same queues, by service along the longest chain of calls."""
    level = float(math.floor(math.log2(1.0 + 8.0 * call.critical / server.mean_service)))
    if call.waiting > 4.0 * (call.critical + call.served + 0.1 * server.mean_service):
        level = 0.0
    return 1e7 * level - call.waiting


def pinned_first(call: Call, server: Server) -> float:
    """Calls whose context is pinned, then the program that came first."""
    return -call.age - 1e7 * call.pinned


def shortest_program(call: Call, server: Server) -> float:
    """Least predicted output of the program to come."""
    return call.predicted_tokens - call.generated


def shortest_call(call: Call, server: Server) -> float:
    """Least predicted output of the call."""
    return max(call.predicted_output - call.generated, 1.0)


def task_share(call: Call, server: Server) -> float:
    """The program that is most behind: its age over the service that it needs in all."""
    needed = call.attained + call.predicted_tokens * server.decode_step + call.prefill_left * server.token_time
    return -call.age / (needed + 0.001)


def never(context: Context, server: Server) -> float:
    """No pin: the context stays while there is room."""
    return 0.0


def always(context: Context, server: Server) -> float:
    """Pinned until the program goes on."""
    return 1e9


def time_to_live(context: Context, server: Server) -> float:
    """Longest gain: what a hit saves, less what the held memory keeps others waiting; tools are log-normal."""
    saved = context.tokens * server.token_time + server.mean_wait
    price = context.tokens / server.capacity * server.waiting
    variance = math.log(1.0 + (context.tool_deviation / context.tool_mean) ** 2) if context.tool_mean > 0.0 else 0.0
    spread = math.sqrt(variance) + 0.1
    middle = math.log(context.tool_mean + 1e-6) - 0.5 * variance
    best, gain, seconds = 0.0, 0.0, 0.05
    for _ in range(14):
        back = 0.5 * (1.0 + math.erf((math.log(seconds) - middle) / (spread * 1.4142135623730951)))
        held = seconds * (1.0 - 0.5 * back)
        if back * saved - held * price > gain:
            gain = back * saved - held * price
            best = seconds
        seconds *= 1.8
    return best


def least_waste(context: Context, server: Server) -> float:
    """Pinned if holding the memory for the tool wastes less than computing the context again, while others wait."""
    again = context.tokens * server.token_time
    preserve = context.predicted_tool * context.tokens
    discard = again * (context.tokens + server.context)
    return context.predicted_tool * 2.0 + 1.0 if preserve < discard else 0.0


def while_it_works(context: Context, server: Server) -> float:
    """Twice the predicted time of the tool, as long as pinned contexts take less than half of the memory."""
    return 2.0 * context.predicted_tool + 0.5 if server.pinned < 0.5 * server.capacity else 0.0


def least_recent(context: Context, server: Server) -> float:
    """LRU."""
    return context.idle


def latest_return(context: Context, server: Server) -> float:
    """The context whose next call is farthest: by prediction, or, once that has passed, by as much again."""
    if context.returned > 0.0:
        return -1e6 - context.tokens
    return abs(context.predicted_tool - context.idle)


_VLLM = 'Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP'
_AUTELLIX = 'Luo et al. (2025), "Autellix: an efficient serving engine for LLM agents as general programs", arXiv'
_CONTINUUM = '"Continuum: efficient and robust multi-turn LLM agent scheduling with KV cache time-to-live" (2025)'
_SAGA = '"SAGA: workflow-atomic scheduling for AI agent inference on GPU clusters" (2026)'
_INFERCEPT = 'Abhyankar et al. (2024), "InferCept: efficient intercept support for augmented LLM inference", ICML'
_KVFLOW = 'Pan et al. (2025), "KVFlow: efficient prefix caching for accelerating LLM-based multi-agent workflows"'
_RANK = 'Fu et al. (2024), "Efficient LLM scheduling by learning to rank", NeurIPS'
_SRPT = 'Schrage (1968), "A proof of the optimality of the shortest remaining processing time discipline", Oper. Res.'

Order = Callable[[Call, Server], float]
OfContext = Callable[[Context, Server], float]


def _rule(
    name: str, title: str, citation: str, order: Order, keep: OfContext = never, evict: OfContext = least_recent
) -> Baseline:
    return Baseline(name, title, citation, hooks={"order": order, "keep": keep, "evict": evict})


RULES = (
    _rule("vllm", "vLLM: calls FCFS, LRU", _VLLM, call_fcfs),
    _rule("program_fcfs", "Programs FCFS, LRU", _CONTINUUM, program_fcfs),
    _rule("always_pin", "Programs FCFS, contexts always pinned", _CONTINUUM, program_fcfs, always),
    _rule("autellix_plas", "Autellix PLAS: least attained service", _AUTELLIX, least_attained),
    _rule("autellix_atlas", "Autellix ATLAS: least critical-path service", _AUTELLIX, least_critical),
    _rule("continuum", "Continuum: time-to-live, programs FCFS", _CONTINUUM, pinned_first, time_to_live),
    _rule("infercept", "InferCept: preserve or discard by waste", _INFERCEPT, call_fcfs, least_waste),
    _rule("kvflow", "KVFlow: evict what returns last", _KVFLOW, call_fcfs, never, latest_return),
    _rule("saga", "SAGA: task share, reuse predicted", _SAGA, task_share, while_it_works, latest_return),
    _rule("shortest_program", "Shortest predicted rest of the program", _SRPT, shortest_program),
    _rule("shortest_call", "Shortest predicted call", _RANK, shortest_call),
)
