"""A rule for Continuous batching, latency and promises, discovered with evolve.

order(request, server) -> float: Place in the waiting queue; the lowest is first.
It reads:
    request.prefill_left (token): still to prefill; after a preemption what was generated counts too
    request.predicted_left (token): predicted output less generated, at least 1
    server.prefill_left (token): what is left of those prompts
admit(request, server, memory) -> float: Positive admits the request, 0 passes over it, negative ends admissions for now.
It reads:
    request.prompt (token): length of its prompt, > 0
    request.prefill_left (token): still to prefill; after a preemption what was generated counts too
    server.waiting_tokens (token): prefill that the waiting queue needs
    server.prefill_left (token): what is left of those prompts
    server.capacity (token): KV cache in all, > 0
    memory.predicted_peak (token): most that is ever held, if each finishes at its predicted length
chunk(server) -> float: Prompt tokens of the next step: beside decoding if positive, instead of it if negative.
It reads:
    server.decoding (count): running requests that generate output
    server.token_time (s): what one more prompt token adds to a large step, > 0
evict(request, server) -> float: The running request with the highest is preempted.
It reads:
    request.waiting (s): since its arrival
    server.waiting (count): requests in the waiting queue

Where it comes from
-------------------
Program 1233 (genetic, mutate), exported 2026-11-30.
Descends from 17 programs; baselines among them: sarathi_slo, smallest_volume, volume_one_prompt.
Settings: problem=serving/continuous_batching, decoder=one-server, proposer=genetic,
strategy=steady_state, deterministic=True, evaluations=3000, report=True, simplify=True, tuning=40,
sigma=0.05, race=True, alpha=0.1, workers=2, timeout_s=10.0, memory_bytes=2147483648,
llm_timeout_s=300.0, max_reply_tokens=8192, share=1.0.

Measured on serving/continuous_batching, decoder one-server
-----------
train: Mean latency per output token 78.56 ms/token (best baseline volume_one_prompt: 80.01)
train: 99th percentile of time to first token 21.1 s (best baseline volume_one_prompt: 21.75)
train: Requests whose promises are kept 84.56 % (best baseline volume_one_prompt: 84.39)
train: Time per request 1433 ns (best baseline volume_one_prompt: 1408)
valid: Mean latency per output token 80.11 ms/token (best baseline volume_one_prompt: 81.53)
valid: 99th percentile of time to first token 27.07 s (best baseline volume_one_prompt: 28.6)
valid: Requests whose promises are kept 84.01 % (best baseline volume_one_prompt: 83.66)
valid: Time per request 1469 ns (best baseline volume_one_prompt: 1265)

Licence: CC0-1.0
"""


def order(request, server):
    return request.predicted_left * (request.prefill_left + 0.5 * request.predicted_left)


def admit(request, server, memory):
    return 1.0 if (0.27 * server.prefill_left if request.prefill_left < max(request.prompt, server.waiting_tokens) else server.prefill_left) < 1.15 and memory.predicted_peak <= 0.97 * server.capacity else -1.0


def chunk(server):
    return max(0.1 / server.token_time - server.decoding, 1.85)


def evict(request, server):
    return server.waiting + 1.05


# evolve-record: {"problem":"serving/continuous_batching","decoder":"one-server","objectives":{"train":{"normalised_latency":78.56038019654528,"p99_ttft":21.100297191826726,"slo_attainment":84.56018518518519},"valid":{"normalised_latency":80.11393884964666,"p99_ttft":27.067167006302085,"slo_attainment":84.01111111111112}}}
