"""Published routing rules, each a score of one server for one request; the lowest is chosen."""

from __future__ import annotations

from problems.problem import Baseline
from problems.serving._cluster.views import Instance, Request


def round_robin(request: Request, instance: Instance) -> float:
    """One server after the other."""
    return (instance.number - request.number) % instance.instances


def random_server(request: Request, instance: Instance) -> float:
    """A server drawn at random."""
    return instance.draw_1


def least_requests(request: Request, instance: Instance) -> float:
    """Fewest requests, waiting or running."""
    return instance.waiting + instance.decoding + instance.prefilling + instance.sent


def least_work(request: Request, instance: Instance) -> float:
    """Least predicted work left: prefill, and output at the same price per token."""
    return instance.queue_time + instance.output_left * instance.token_time


def power_of_two(request: Request, instance: Instance) -> float:
    """The one with fewer requests of two servers drawn at random."""
    if instance.draw_1 > 0.0 and instance.draw_2 > 0.0:
        return 1e9
    return instance.waiting + instance.decoding + instance.prefilling + instance.sent


def prefix_hash(request: Request, instance: Instance) -> float:
    """The server that a hash of the conversation names, or the next on the ring."""
    return instance.hash_1


def best_prefix(request: Request, instance: Instance) -> float:
    """Most of the prompt cached; among equals, fewest requests."""
    requests = instance.waiting + instance.decoding + instance.prefilling + instance.sent
    return requests - 1e6 * instance.cached_tokens


def least_ttft(request: Request, instance: Instance) -> float:
    """Least predicted time to first token: what is queued there, and what is not cached of the prompt."""
    return instance.queue_time + instance.prefill_time + 0.5 * instance.decode_step


def least_ttft_with_room(request: Request, instance: Instance) -> float:
    """Least predicted time to first token among servers whose free memory holds the prompt.

    Where none does, the one that lacks least, in the time that it would take to compute it.
    """
    lacking = request.prompt - instance.cached_tokens - instance.free
    if lacking > 0.0:
        return 1e6 + lacking * instance.token_time
    return instance.queue_time + instance.prefill_time + 0.5 * instance.decode_step


def dual_map(request: Request, instance: Instance) -> float:
    """Of two servers that hashes name, the better prefix while its predicted time to first token keeps the promise.

    Where none of both does, the one with the shorter queue.
    """
    if instance.hash_1 > 0.0 and instance.hash_2 > 0.0:
        return 1e9
    if instance.queue_time + instance.prefill_time <= min(request.ttft_slo, 5.0):
        return 1e-3 * instance.queue_time - instance.cached_tokens
    return 1e6 + instance.queue_time


def freest(request: Request, instance: Instance) -> float:
    """Most free memory, less what waits, per running request."""
    running = max(instance.decoding + instance.prefilling, 1.0)
    waiting = (instance.queue_time + instance.prefill_time) / instance.token_time
    return -(instance.free - waiting) / running


def alpha_rule(request: Request, instance: Instance) -> float:
    """How well the server suits the request, against how busy it is, both relative to the best and the busiest."""
    suits = request.fastest_prefill / max(instance.prefill_time, 1e-6)
    busy = instance.queue_time / max(request.longest_queue, 1e-6)
    return 0.7 * busy - 0.3 * suits


RULES = (
    Baseline(
        "round_robin",
        "Round robin: one server after the other",
        "textbook; default of NGINX's upstream module and of many model servers",
        hooks={"route": round_robin},
    ),
    Baseline(
        "random",
        "A random server",
        "textbook; the reference in Mitzenmacher (2001), IEEE TPDS 12(10):1094-1104",
        hooks={"route": random_server},
    ),
    Baseline(
        "least_requests",
        "Fewest requests, waiting or running",
        "join the shortest queue: Winston (1977), Journal of Applied Probability 14(1):181-189",
        hooks={"route": least_requests},
    ),
    Baseline(
        "least_work",
        "Least estimated work left, with predicted output lengths",
        "least work left: Harchol-Balter, Crovella and Murta (1999), JPDC 59(2):204-228",
        hooks={"route": least_work},
    ),
    Baseline(
        "power_of_two",
        "The less loaded of two random servers",
        "Mitzenmacher (2001), 'The power of two choices in randomized load balancing', IEEE TPDS 12(10):1094-1104",
        hooks={"route": power_of_two},
    ),
    Baseline(
        "prefix_hash",
        "A hash of the conversation names the server",
        "Karger et al. (1997), 'Consistent hashing and random trees', STOC, with prompt prefixes as keys",
        hooks={"route": prefix_hash},
    ),
    Baseline(
        "best_prefix",
        "The longest cached prefix",
        "cache-aware routing of SGLang: Zheng et al. (2024), 'SGLang', NeurIPS; here without its balance thresholds",
        hooks={"route": best_prefix},
    ),
    Baseline(
        "least_ttft",
        "Least predicted time to first token, cached prefix included",
        "the KV-centric scheduler of Mooncake: Qin et al. (2025), FAST, Algorithm 1",
        hooks={"route": least_ttft},
    ),
    Baseline(
        "least_ttft_with_room",
        "Least predicted time to first token among servers with room",
        "filters, then a score, as in the endpoint picker of the Kubernetes Gateway API Inference Extension (2025)",
        hooks={"route": least_ttft_with_room},
    ),
    Baseline(
        "dual_map",
        "DualMap: two hashes, the better prefix unless it would be late",
        "DualMap (2026), 'Enabling both cache affinity and load balancing'; without migration and dual ring",
        hooks={"route": dual_map},
    ),
    Baseline(
        "llumnix",
        "Llumnix: most free memory per running request",
        "Sun et al. (2024), 'Llumnix: dynamic scheduling for LLM serving', OSDI; dispatch only, without migration",
        hooks={"route": freest},
    ),
    Baseline(
        "hexgen",
        "HexGen-Text2SQL: suitability against load, weighed by alpha = 0.3",
        "Peng et al. (2025), 'HexGen-Text2SQL: optimizing LLM inference request scheduling', arXiv:2505.05286",
        hooks={"route": alpha_rule},
    ),
)
