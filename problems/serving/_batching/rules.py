"""Published schedulers for continuous batching, as far as the four hooks can express them.

Left out, because the hooks cannot express them: layered prefill (a step takes all layers of its tokens), and
LAPS's padding to captured graphs (a step costs what it computes). FlowPrefill, QLLM, ALISE and FastSwitch, which
preempt, are rules of serving/preemption.
"""

from __future__ import annotations

from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._server.views import Memory, Request, Server


def arrival(request: Request, server: Server) -> float:
    """First come, first served; what was preempted keeps its place."""
    return -request.waiting


def latest(request: Request, server: Server) -> float:
    """The request that came last."""
    return -request.waiting


def whole_prompts(server: Server) -> float:
    """All admitted prompts at once, beside decoding."""
    return server.prefill_left


def prompts_alone(server: Server) -> float:
    """All admitted prompts at once, while decoding pauses."""
    return -server.prefill_left


def budget_512(server: Server) -> float:
    """Decode all, and prefill what is left of 512 tokens."""
    return max(512.0 - server.decoding, 1.0)


def budget_2048(server: Server) -> float:
    """Decode all, and prefill what is left of 2048 tokens."""
    return max(2048.0 - server.decoding, 1.0)


def budget_1024(server: Server) -> float:
    """Decode all, and prefill what is left of 1024 tokens."""
    return max(1024.0 - server.decoding, 1.0)


def budget_of_slo(server: Server) -> float:
    """As many tokens as keep the step within 100 ms, at least a block."""
    return max((0.1 - server.decode_step) / server.token_time, 16.0)


def reserve_longest(request: Request, server: Server, memory: Memory) -> float:
    """Only if the KV cache holds every running request at its longest possible output."""
    return 1.0 if memory.reserved <= server.capacity else -1.0


def free_blocks(request: Request, server: Server, memory: Memory) -> float:
    """If the prompt fits now, and 1 % stays free."""
    return 1.0 if memory.needed + 0.01 * server.capacity <= server.free else -1.0


def past_future(request: Request, server: Server, memory: Memory) -> float:
    """If the predicted peak of all running requests fits."""
    return 1.0 if memory.predicted_peak <= 0.97 * server.capacity else -1.0


def one_prompt(request: Request, server: Server, memory: Memory) -> float:
    """If no other prompt is in progress and the predicted peak fits: who comes meanwhile may still go before."""
    return 1.0 if server.prefill_left < 1.0 and memory.predicted_peak <= 0.97 * server.capacity else -1.0


def first_fit(request: Request, server: Server, memory: Memory) -> float:
    """If all predicted lengths fit at once; what does not fit is passed over."""
    return 1.0 if memory.predicted_total <= server.capacity and memory.needed <= server.free else 0.0


def shortest(request: Request, server: Server) -> float:
    """Shortest predicted output first."""
    return request.predicted_left


def aged_rank(request: Request, server: Server) -> float:
    """Shortest predicted output first; who has queued for 10 s goes before, longest wait first."""
    if request.queued > 10.0:
        return -1e6 - request.queued
    return request.predicted_left


def smallest_volume(request: Request, server: Server) -> float:
    """Least predicted KV cache times steps: the prompt as long as the output lasts, and the output as it grows."""
    return request.predicted_left * (request.prefill_left + 0.5 * request.predicted_left)


def longest_left(request: Request, server: Server) -> float:
    """The request with most predicted output to come."""
    return request.predicted_left


def bandwidth(request: Request, server: Server) -> float:
    """Least laxity: promised time less the time that the request needs; what is lost goes last."""
    service = request.prefill_left * server.token_time + request.predicted_left * server.decode_step
    budget = request.slack + request.predicted_left * request.tpot_slo
    laxity = budget - service
    if laxity < 0.0 or request.slack < 0.0:
        return 1e6 + service
    return laxity


def least_bandwidth(request: Request, server: Server) -> float:
    """The request that can best afford it."""
    return request.slack + request.predicted_left * request.tpot_slo


def prompt_classes(request: Request, server: Server) -> float:
    """Prompts up to 512 tokens before longer ones, unless these have waited for 2 s."""
    if request.prefill_left > 512.0 and request.waiting < 2.0:
        return 1e6 - request.waiting
    return -request.waiting


_ORCA = 'Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative models", OSDI'
_VLLM = 'Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP'
_SARATHI = 'Agrawal et al. (2024), "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", OSDI'
_PAST_FUTURE = 'Gong et al. (2025), "Past-Future scheduler for LLM serving under SLA guarantees", ASPLOS'
_S3 = 'Jin et al. (2023), "S3: increasing GPU utilization during generative inference for higher throughput", NeurIPS'
_RANK = 'Fu et al. (2024), "Efficient LLM scheduling by learning to rank", NeurIPS'
_JIT = 'Zhang et al. (2025), "JITServe: SLO-aware LLM serving with imprecise request information", arXiv:2504.20068'
_VOLUME = 'Kong, Qi, Ye and Zhou (2026), "Geometry-aware online scheduling for LLM serving", arXiv:2606.22327'
_LAPS = '"LAPS: a length-aware-prefill LLM serving system" (2026)'

Order = Callable[[Request, Server], float]
Admit = Callable[[Request, Server, Memory], float]
Chunk = Callable[[Server], float]


def _rule(
    name: str, title: str, citation: str, *, order: Order = arrival, admit: Admit, chunk: Chunk, evict: Order = latest
) -> Baseline:
    return Baseline(name, title, citation, hooks={"order": order, "admit": admit, "chunk": chunk, "evict": evict})


RULES = (
    _rule("orca", "Orca: FCFS, longest output reserved", _ORCA, admit=reserve_longest, chunk=whole_prompts),
    _rule("vllm_v0", "vLLM v0: prompts first, alone", _VLLM, admit=free_blocks, chunk=prompts_alone),
    _rule("sarathi", "Sarathi-Serve: 512 tokens a step", _SARATHI, admit=free_blocks, chunk=budget_512),
    _rule("sarathi_slo", "Sarathi-Serve: steps of 100 ms", _SARATHI, admit=free_blocks, chunk=budget_of_slo),
    _rule("vllm_v1", "vLLM v1: 2048 tokens a step", _VLLM, admit=free_blocks, chunk=budget_2048),
    _rule("conservative", "Longest output reserved, chunked", _PAST_FUTURE, admit=reserve_longest, chunk=budget_2048),
    _rule("past_future", "Past-Future: predicted peak fits", _PAST_FUTURE, admit=past_future, chunk=budget_2048),
    _rule(
        "s3",
        "S3: predicted lengths packed, first fit",
        _S3,
        admit=first_fit,
        chunk=whole_prompts,
        evict=longest_left,
    ),
    _rule("sjf", "Shortest predicted output first", _RANK, order=shortest, admit=free_blocks, chunk=budget_2048),
    _rule(
        "learning_to_rank",
        "Predicted rank with promotion after 10 s",
        _RANK,
        order=aged_rank,
        admit=free_blocks,
        chunk=budget_2048,
        evict=longest_left,
    ),
    _rule(
        "jitserve",
        "JITServe: least laxity, hopeless ones last",
        _JIT,
        order=bandwidth,
        admit=past_future,
        chunk=budget_of_slo,
        evict=least_bandwidth,
    ),
    _rule(
        "smallest_volume",
        "SVF: smallest predicted volume of KV cache first",
        _VOLUME,
        order=smallest_volume,
        admit=free_blocks,
        chunk=budget_2048,
    ),
    _rule(
        "volume_past_future",
        "SVF, predicted peak fits, 1024 tokens a step",
        f"{_VOLUME}, with admission of {_PAST_FUTURE}",
        order=smallest_volume,
        admit=past_future,
        chunk=budget_1024,
        evict=longest_left,
    ),
    _rule(
        "volume_one_prompt",
        "SVF, predicted peak fits, one prompt at a time",
        f"{_VOLUME}, with admission of {_PAST_FUTURE}, and one partial prefill at a time as in vLLM",
        order=smallest_volume,
        admit=one_prompt,
        chunk=budget_1024,
        evict=longest_left,
    ),
    _rule("laps", "LAPS: short prompts first", _LAPS, order=prompt_classes, admit=free_blocks, chunk=budget_2048),
)
