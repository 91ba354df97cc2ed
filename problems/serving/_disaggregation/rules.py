"""Published rules: where to prefill, where to decode, and which instance does what."""

from __future__ import annotations

import math

from problems.problem import Baseline
from problems.serving._disaggregation.views import Cluster, Instance, Request


def in_turn(request: Request, instance: Instance) -> float:
    """One instance after the other."""
    return (instance.place - request.turn) % instance.instances


def shortest_queue(request: Request, instance: Instance) -> float:
    """Least time to prefill what is queued."""
    return instance.queue_time


def soonest_prefill(request: Request, instance: Instance) -> float:
    """Least predicted time to first token."""
    return instance.queue_time + instance.prefill_time


def idle_first(request: Request, instance: Instance) -> float:
    """An instance without prompts, drawn at random; if there is none, the one with the fewest."""
    return instance.waiting + instance.prefilling + 1e-3 * instance.draw_1


def fewest_requests(request: Request, instance: Instance) -> float:
    """Fewest requests, waiting for a phase or in it."""
    return instance.waiting + instance.prefilling + instance.decoding + instance.pending


def least_loaded(request: Request, instance: Instance) -> float:
    """Fewest requests that are decoded or on their way."""
    return instance.decoding + instance.pending


def least_cache(request: Request, instance: Instance) -> float:
    """Least KV cache, there or on its way."""
    return instance.context + instance.pending_tokens


def least_output(request: Request, instance: Instance) -> float:
    """Least predicted output to come, at the pace of the instance; those without room last."""
    full = request.prompt + instance.pending_tokens > instance.free
    return instance.decode_step * (instance.decoding + instance.pending + 1.0) + (1e3 if full else 0.0)


def spread_heavy(request: Request, instance: Instance) -> float:
    """Of two instances drawn at random, the one with fewer heavy requests per light one, if what is predicted fits."""
    if instance.draw_1 > 0.0 and instance.draw_2 > 0.0:
        return 1e9
    left = instance.free - instance.pending_tokens - instance.output_left
    light = instance.decoding + instance.pending - instance.heavy
    mix = instance.heavy / (1.0 + max(light, 0.0))
    return mix if left >= request.prompt + request.predicted_output else 1e6 + mix


def as_it_is(instance: Instance, cluster: Cluster) -> float:
    """Roles stay as they are."""
    return instance.role


def both_phases(instance: Instance, cluster: Cluster) -> float:
    """All instances do both."""
    return 0.0


def planned(instance: Instance, cluster: Cluster) -> float:
    """At the start as many that prefill as suit the planned load; then roles stay."""
    if cluster.now > 0.0:
        return instance.role
    share = instance.prompt_time / (instance.prompt_time + instance.output_time)
    wanted = min(max(math.floor(share * cluster.instances + 0.5), 1.0), cluster.instances - 1.0)
    return 1.0 if instance.place < wanted else -1.0


def planned_with_mixed(instance: Instance, cluster: Cluster) -> float:
    """As planned, but what is left over of a share is one instance that does both."""
    if cluster.now > 0.0:
        return instance.role
    share = instance.prompt_time / (instance.prompt_time + instance.output_time)
    wanted = min(max(share * cluster.instances, 1.0), cluster.instances - 1.0)
    if instance.place + 1.0 <= wanted:
        return 1.0
    return 0.0 if instance.place < wanted else -1.0


def idle_flips(instance: Instance, cluster: Cluster) -> float:
    """An instance without work changes sides, if the other side has more than a second of it for each instance."""
    if cluster.switching > 0.0:
        return instance.role
    if instance.role > 0.5 and instance.waiting + instance.prefilling + instance.held == 0.0:
        return -1.0 if cluster.pending_tokens > 0.0 and cluster.queue_time == 0.0 else 1.0
    if instance.role < -0.5 and instance.decoding + instance.pending == 0.0:
        return 1.0 if cluster.queue_time > cluster.prefill else -1.0
    return instance.role


def balanced(instance: Instance, cluster: Cluster) -> float:
    """Both sides can serve the same number of requests a second: one instance at a time moves to that ratio."""
    share = instance.prompt_time / (instance.prompt_time + instance.output_time)
    wanted = min(max(share * cluster.instances, 1.0), cluster.instances - 1.0)
    if cluster.switching == 0.0 or cluster.now == 0.0:
        if instance.role > 0.5 and cluster.prefill > wanted + 0.9:
            return -1.0
        if instance.role < -0.5 and cluster.prefill < wanted - 0.9:
            return 1.0
    return instance.role


def to_the_late(instance: Instance, cluster: Cluster) -> float:
    """An instance moves to the phase whose promises are broken, if the other one keeps its own."""
    if cluster.switching > 0.0:
        return instance.role
    first, further = cluster.late_first, cluster.late_output
    if instance.role < -0.5 and first > 0.1 and first > 2.0 * further and instance.pending == 0.0:
        return 1.0
    if instance.role > 0.5 and further > 0.1 and further > 2.0 * first and instance.queue_time < 0.1:
        return -1.0
    return instance.role


RULES = (
    Baseline(
        "round_robin",
        "Round robin in both phases, roles as they are",
        "textbook; default of NGINX's upstream module and of many model servers",
        hooks={"prefill": in_turn, "decode": in_turn, "role": as_it_is},
    ),
    Baseline(
        "colocated",
        "All instances do both phases in chunks; the one with the fewest requests",
        "Agrawal et al. (2024), 'Sarathi-Serve', OSDI, as in vLLM v1; join the shortest queue: Winston (1977)",
        hooks={"prefill": fewest_requests, "decode": fewest_requests, "role": both_phases},
    ),
    Baseline(
        "distserve",
        "DistServe: shortest prefill queue, least loaded decode instance, placement by the planned load",
        "Zhong et al. (2024), 'DistServe: disaggregating prefill and decoding', OSDI; here with one parallelism",
        hooks={"prefill": shortest_queue, "decode": least_loaded, "role": planned},
    ),
    Baseline(
        "splitwise",
        "Splitwise: shortest queues by tokens, and a mixed pool between the two",
        "Patel et al. (2024), 'Splitwise: efficient generative LLM inference using phase splitting', ISCA; its mixed "
        "pool is fixed here",
        hooks={"prefill": soonest_prefill, "decode": least_cache, "role": planned_with_mixed},
    ),
    Baseline(
        "tetriinfer",
        "TetriInfer: power of two choices among those that fit, heavy and light outputs mixed; idle instances flip",
        "Hu et al. (2024), 'Inference without interference', arXiv:2401.11181; prompts are not chunked here",
        hooks={"prefill": shortest_queue, "decode": spread_heavy, "role": idle_flips},
    ),
    Baseline(
        "pd_serve",
        "P/D-Serve: idle prefill instances first, roles in balance of n_p b_p / T_p and n_d b_d / T_d",
        "Jin et al. (2024), 'P/D-Serve: serving disaggregated large language model at scale', arXiv:2408.08147; "
        "prompts queue at the instance, not at the gateway",
        hooks={"prefill": idle_first, "decode": least_loaded, "role": balanced},
    ),
    Baseline(
        "slo_feedback",
        "Least predicted times; an instance moves to the phase whose promises are broken",
        "dynamic roles of xLLM: Liu et al. (2025), 'xLLM technical report', arXiv:2510.14686; without its predictors",
        hooks={"prefill": soonest_prefill, "decode": least_output, "role": to_the_late},
    ),
)
