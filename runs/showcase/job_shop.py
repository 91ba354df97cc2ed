"""A rule for Job shop, makespan, discovered with evolve.

priority(op, shop) -> float: Rank of an operation that competes for its machine; the lowest is started first.
It reads:
    op.duration (time): processing time, > 0
    op.work_left (time): work of its job from this operation on, itself included, > 0
    op.machine_queue (time): work that waits for its machine now, itself included
    op.next_duration (time): processing time of the next operation
    op.next_machine_queue (time): work that waits for the next machine now
    op.next_machine_work_left (time): unscheduled work on the next machine, next operation included
    shop.mean_duration (time): mean processing time of all operations, > 0
    shop.scheduled_share (1): share of all operations scheduled so far, in [0, 1)

Where it comes from
-------------------
Program 1552 (genetic, expand), exported 2026-11-20.
Descends from 15 programs; baselines among them: mwkr.
Settings: problem=shop/job_shop, decoder=non-delay, proposer=genetic, strategy=steady_state,
deterministic=True, evaluations=3000, report=True, simplify=True, tuning=40, alpha=0.05, seed=1,
workers=2, timeout_s=10.0, memory_bytes=2147483648, llm_timeout_s=300.0, max_reply_tokens=8192.

Measured on shop/job_shop, decoder non-delay
-----------
train: Mean gap to best known makespan or lower bound 19.76 % (best baseline p_over_work_left: 21.35)
train: Time per scheduled operation 515.9 ns (best baseline p_over_work_left: 258.9)
valid: Mean gap to best known makespan or lower bound 14.37 % (best baseline p_over_work_left: 15.99)
valid: Time per scheduled operation 613.7 ns (best baseline p_over_work_left: 303.4)
test: Mean gap to best known makespan or lower bound 12.74 % (best baseline p_over_work_left: 14.49)
test: Time per scheduled operation 605.4 ns (best baseline p_over_work_left: 314.2)
shift-large: Mean gap to best known makespan or lower bound 0.4727 % (best baseline p_over_work_left: 1.227)
shift-large: Time per scheduled operation 1499 ns (best baseline p_over_work_left: 705.6)
shift-two-set: Mean gap to best known makespan or lower bound 35.19 % (best baseline p_over_work_left: 35.34)
shift-two-set: Time per scheduled operation 675.7 ns (best baseline p_over_work_left: 342.3)

Licence: CC0-1.0
"""


import math


def priority(op, shop):
    return -(op.work_left * (op.duration / shop.mean_duration + 20.0) ** math.tanh(0.316 + (-0.866) * shop.scheduled_share) / 2.95 ** math.tanh(0.88 + 0.445 * (op.next_machine_queue / op.duration)) * (op.work_left / op.duration + 0.229) ** math.tanh(0.943 + 3.0 * (op.next_machine_work_left / op.duration)) * (op.next_machine_work_left / op.work_left + 4.5) ** 2.07 * (op.next_machine_work_left / op.duration + 0.0702) ** (-0.161) * (op.machine_queue / shop.mean_duration + 0.319) ** 0.0532 * (op.next_duration / shop.mean_duration + 4.45) ** (-0.184))


# evolve-record: {"problem":"shop/job_shop","decoder":"non-delay","objectives":{"train":{"gap":19.760129862136125},"valid":{"gap":14.367869596979283},"test":{"gap":12.735564534856298},"shift-large":{"gap":0.4726602492715379},"shift-two-set":{"gap":35.18644711686726}}}
