"""A rule for Prefix eviction, computed prompt tokens and time to first token, discovered with evolve.

the same decisions on train and valid in fewer terms

evict(block, cache) -> float: The block with the highest value is evicted.
It reads:
    block.idle (s): since a request last held it
    block.seen (count): requests so far that had it in their prompt, also before it was last computed
    block.recompute (s): time to compute it again, given what comes before it, > 0
    block.returns (1): share of requests of its kind so far that continue a session
    block.usual (s): mean time between requests of a session of its kind so far; 0 before the first
    block.due (s): until it is predicted to be used again; < 0: overdue; 1e6: not again. Often wrong
    block.wanted (count): requests in the queue that repeat it
    cache.evictable (count): blocks that may go now
    cache.hit_rate (1): share of prompt tokens that were cached so far
    cache.turnover (s): mean idle time of blocks when evicted, lately; 0 before the first

Where it comes from
-------------------
Program 1433 (simplified, simplify), exported 2026-11-30.
Descends from 19 programs; baselines among them: saga.
Settings: problem=serving/prefix_eviction, decoder=one-server, proposer=genetic,
strategy=steady_state, deterministic=True, evaluations=3000, report=True, simplify=True, tuning=40,
sigma=0.05, race=True, alpha=0.1, workers=2, timeout_s=10.0, memory_bytes=2147483648,
llm_timeout_s=300.0, max_reply_tokens=8192, share=1.0.

Measured on serving/prefix_eviction, decoder one-server
-----------
train: Prompt tokens computed 52.62 % of prompt tokens (best baseline saga: 53.31)
train: Mean time to first token 0.961 s (best baseline saga: 1.009)
train: Mean time to first token of the kind that fares worst 0.9976 s (best baseline saga: 1.049)
train: Time per request 8263 ns (best baseline saga: 5150)
valid: Prompt tokens computed 52.77 % of prompt tokens (best baseline saga: 53.41)
valid: Mean time to first token 1.074 s (best baseline saga: 1.093)
valid: Mean time to first token of the kind that fares worst 1.123 s (best baseline saga: 1.144)
valid: Time per request 8824 ns (best baseline saga: 3951)
test: Prompt tokens computed 51.82 % of prompt tokens (best baseline saga: 52.63)
test: Mean time to first token 1.205 s (best baseline saga: 1.27)
test: Mean time to first token of the kind that fares worst 1.237 s (best baseline saga: 1.3)
test: Time per request 8208 ns (best baseline saga: 4120)
shift-capacity: Prompt tokens computed 56.24 % of prompt tokens (best baseline saga: 56.68)
shift-capacity: Mean time to first token 1.749 s (best baseline saga: 1.782)
shift-capacity: Mean time to first token of the kind that fares worst 1.885 s (best baseline saga: 1.918)
shift-capacity: Time per request 8787 ns (best baseline saga: 4119)
shift-load: Prompt tokens computed 52.39 % of prompt tokens (best baseline saga: 53.22)
shift-load: Mean time to first token 1.4 s (best baseline saga: 1.547)
shift-load: Mean time to first token of the kind that fares worst 1.421 s (best baseline saga: 1.571)
shift-load: Time per request 7892 ns (best baseline saga: 3999)
shift-predictor: Prompt tokens computed 57.44 % of prompt tokens (best baseline saga: 58.55)
shift-predictor: Mean time to first token 1.151 s (best baseline saga: 1.202)
shift-predictor: Mean time to first token of the kind that fares worst 1.174 s (best baseline saga: 1.232)
shift-predictor: Time per request 8314 ns (best baseline saga: 4295)
shift-burst: Prompt tokens computed 51.78 % of prompt tokens (best baseline saga: 52.43)
shift-burst: Mean time to first token 2.765 s (best baseline saga: 2.979)
shift-burst: Mean time to first token of the kind that fares worst 2.82 s (best baseline saga: 3.035)
shift-burst: Time per request 7729 ns (best baseline saga: 3881)
shift-family: Prompt tokens computed 45.81 % of prompt tokens (best baseline saga: 46.23)
shift-family: Mean time to first token 0.4746 s (best baseline saga: 0.4819)
shift-family: Mean time to first token of the kind that fares worst 0.4746 s (best baseline saga: 0.4819)
shift-family: Time per request 7647 ns (best baseline saga: 3241)

Licence: CC0-1.0
"""


import math


def evict(block, cache):
    return (0.215 * block.idle + 0.954 * abs(block.due)) * (cache.evictable / (block.wanted + 0.0899) / (block.returns + 0.0297)) ** 0.859 * (0.283 * block.idle + 0.176 * (abs(block.due) + 9.09 * block.usual)) * (7.65 * block.seen + 1.06) ** (-0.494) * (cache.turnover / block.recompute + 2.7) ** (-0.00156) * (block.returns / (cache.hit_rate + 0.114) + 0.423) ** math.tanh(-0.111 + -0.0452 * block.returns)


# evolve-record: {"problem":"serving/prefix_eviction","decoder":"one-server","objectives":{"train":{"uncached":52.621371493746096,"mean_ttft":0.9610191971355716,"worst_kind_ttft":0.9975964860440805},"valid":{"uncached":52.77498735514089,"mean_ttft":1.073620815426393,"worst_kind_ttft":1.1230351916330157},"test":{"uncached":51.82097551474656,"mean_ttft":1.205452090266307,"worst_kind_ttft":1.2367983304747148},"shift-capacity":{"uncached":56.238936252046884,"mean_ttft":1.749424498366523,"worst_kind_ttft":1.8847374789826155},"shift-load":{"uncached":52.389127955814686,"mean_ttft":1.3995456496109078,"worst_kind_ttft":1.420946236413216},"shift-predictor":{"uncached":57.43699828914835,"mean_ttft":1.1512297739652775,"worst_kind_ttft":1.1743639898104534},"shift-burst":{"uncached":51.77985082986942,"mean_ttft":2.764727073247262,"worst_kind_ttft":2.820353804431971},"shift-family":{"uncached":45.81071496016153,"mean_ttft":0.4746441429862481,"worst_kind_ttft":0.4746441429862481}}}
