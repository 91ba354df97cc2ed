"""Published rules for requests that move between servers; each is a router, and a choice of pairs and requests."""

from __future__ import annotations

from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._cluster.views import Instance, Request
from problems.serving._migration.views import Job, Server
from problems.serving._routing.rules import dual_map, freest, least_ttft, least_work, round_robin


def never(source: Server, target: Server) -> float:
    """No server hands anything on."""
    return 0.0


def nobody(job: Job, source: Server, target: Server) -> float:
    """No request moves."""
    return 0.0


def full_to_freest(source: Server, target: Server) -> float:
    """From servers with less than three blocks per request to the freest one."""
    free = (source.free - source.queue_tokens) / max(source.decoding + source.prefilling, 1.0)
    room = (target.free - target.queue_tokens) / max(target.decoding + target.prefilling, 1.0)
    if free >= 48.0 or room <= 48.0:
        return 0.0
    return room - free


def least_and_shortest(job: Job, source: Server, target: Server) -> float:
    """A decoding request that fits there with room to spare: of the least urgent class, the shortest."""
    if job.waiting > 0.0 or job.context + 256.0 > target.free:
        return 0.0
    return 1e6 * (1.0 + job.priority) - job.context


def urgent_need_room(source: Server, target: Server) -> float:
    """As from full servers to the freest, where an urgent request counts as a fifth of the memory besides."""
    reserve = 0.2 * source.capacity * min(source.urgent, 3.0)
    other = 0.2 * target.capacity * min(target.urgent, 3.0)
    free = (source.free - source.queue_tokens - reserve) / max(source.decoding + source.prefilling, 1.0)
    room = (target.free - target.queue_tokens - other) / max(target.decoding + target.prefilling, 1.0)
    if free >= 48.0 or room <= 48.0:
        return 0.0
    return room - free


def blocked_to_roomy(source: Server, target: Server) -> float:
    """From servers whose queue waits for memory to those that have it and no queue."""
    lacking = source.first_needs - source.free
    if lacking <= 0.0 or target.waiting > 0.0 or target.free < lacking:
        return 0.0
    return target.free


def smallest_that_helps(job: Job, source: Server, target: Server) -> float:
    """The smallest decoding request whose memory lets the first of the queue in."""
    if job.waiting > 0.0 or job.context + 256.0 > target.free:
        return 0.0
    lacking = source.first_needs - source.free
    if job.context < lacking:
        return job.context / lacking
    return 1.0 + 1e6 / job.context


def busy_to_idle(source: Server, target: Server) -> float:
    """From the longest queue to servers without one, if that saves time."""
    if target.waiting > 0.0 or source.waiting < 1.0:
        return 0.0
    return source.queue_time - target.queue_time


def last_of_the_queue(job: Job, source: Server, target: Server) -> float:
    """The waiting request that came last, if it fits there."""
    if job.waiting < 1.0 or job.prefill_left > target.free:
        return 0.0
    return 1.0 / (1.0 + job.idle)


def hot_to_cold(source: Server, target: Server) -> float:
    """From servers where first tokens will be late to those where they would come in half the time."""
    if source.queue_time < 1.0 or source.waiting < 1.0 or target.queue_time > 0.5 * source.queue_time:
        return 0.0
    return source.queue_time - target.queue_time


def late_ones(job: Job, source: Server, target: Server) -> float:
    """The waiting request that came last of those that the move brings closer to its promise."""
    if job.waiting < 1.0:
        return 0.0
    here = source.queue_time
    there = target.queue_time + job.prefill_left * target.token_time
    if there >= here:
        return 0.0
    return (here - there) / (1.0 + job.idle)


def _rule(
    name: str,
    title: str,
    citation: str,
    route: Callable[[Request, Instance], float],
    pair: Callable[[Server, Server], float] = never,
    pick: Callable[[Job, Server, Server], float] = nobody,
) -> Baseline:
    return Baseline(name, title, citation, hooks={"route": route, "pair": pair, "pick": pick})


_LLUMNIX = "Sun et al. (2024), 'Llumnix: dynamic scheduling for LLM serving', OSDI"
_TTFT = "least TTFT: Qin et al. (2025), 'Mooncake', FAST, Algorithm 1"

RULES = (
    _rule(
        "llumnix",
        "Llumnix: from servers with less than three blocks per request to the freest, the shortest request",
        _LLUMNIX + "; thresholds of its public code, one request of a pair at a time",
        freest,
        full_to_freest,
        least_and_shortest,
    ),
    _rule("llumnix_dispatch", "Llumnix without migration: to the freest server", _LLUMNIX, freest),
    _rule(
        "llumnix_priorities",
        "Llumnix with headroom: urgent requests count as a fifth of the memory besides",
        _LLUMNIX + ", section 4.4.2, virtual usage; the size of the headroom is ours",
        freest,
        urgent_need_room,
        least_and_shortest,
    ),
    _rule(
        "defragment",
        "Least TTFT; the smallest request makes way where the queue waits for memory",
        "de-fragmentation: " + _LLUMNIX + "; " + _TTFT,
        least_ttft,
        blocked_to_roomy,
        smallest_that_helps,
    ),
    _rule(
        "work_stealing",
        "Least TTFT; a server without a queue takes the last one from the longest",
        "Blumofe and Leiserson (1999), 'Scheduling multithreaded computations by work stealing', JACM 46(5):720-748; "
        + _TTFT,
        least_ttft,
        busy_to_idle,
        last_of_the_queue,
    ),
    _rule(
        "dual_map",
        "DualMap: two hashes, and waiting requests leave hot servers",
        "DualMap (2026), 'Enabling both cache affinity and load balancing'; thresholds ours, without dual ring",
        dual_map,
        hot_to_cold,
        late_ones,
    ),
    _rule("least_ttft", "Least predicted time to first token, no migration", _TTFT, least_ttft),
    _rule(
        "least_work",
        "Least estimated work left, no migration",
        "least work left: Harchol-Balter, Crovella and Murta (1999), JPDC 59(2):204-228",
        least_work,
    ),
    _rule(
        "round_robin",
        "Round robin, no migration",
        "textbook; default of NGINX's upstream module and of many model servers",
        round_robin,
    ),
    _rule(
        "round_robin_stealing",
        "Round robin; a server without a queue takes the last one from the longest",
        "Blumofe and Leiserson (1999), 'Scheduling multithreaded computations by work stealing', JACM 46(5):720-748",
        round_robin,
        busy_to_idle,
        last_of_the_queue,
    ),
)
