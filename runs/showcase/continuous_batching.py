"""A rule for Continuous batching, latency and promises, discovered with evolve.

the same decisions on train and valid in fewer terms

order(request, server) -> float: Place in the waiting queue; the lowest is first.
It reads:
    request.prefill_left (token): still to prefill; after a preemption what was generated counts too
    request.predicted_left (token): predicted output less generated, at least 1
    server.prefill_left (token): what is left of those prompts
admit(request, server, memory) -> float: Positive admits the request, 0 passes over it, negative ends admissions for now.
It reads:
    request.prefill_left (token): still to prefill; after a preemption what was generated counts too
    server.prefill_left (token): what is left of those prompts
    server.capacity (token): KV cache in all, > 0
    memory.predicted_peak (token): most that is ever held, if each finishes at its predicted length
chunk(server) -> float: Prompt tokens of the next step: beside decoding if positive, instead of it if negative.
It reads:
    server.decoding (count): running requests that generate output
    server.prefilling (count): running requests whose prompt is not done
    server.context (token): KV cache that one decode step reads
    server.capacity (token): KV cache in all, > 0
    server.decode_step (s): duration of a step that only decodes what is decoding now
    server.token_time (s): what one more prompt token adds to a large step, > 0
evict(request, server) -> float: The running request with the highest is preempted.
It reads:
    request.predicted_left (token): predicted output less generated, at least 1

Where it comes from
-------------------
Program 1316 (simplified, simplify), exported 2026-11-30.
Descends from 29 programs; baselines among them: sarathi_slo, sjf, smallest_volume, volume_one_prompt.
Settings: problem=serving/continuous_batching, decoder=one-server, proposer=genetic,
strategy=steady_state, deterministic=True, evaluations=3000, report=True, simplify=True, tuning=40,
sigma=0.05, race=True, alpha=0.1, workers=2, timeout_s=10.0, memory_bytes=2147483648,
llm_timeout_s=300.0, max_reply_tokens=8192, share=1.0.

Measured on serving/continuous_batching, decoder one-server
-----------
train: Mean latency per output token 77.6 ms/token (best baseline volume_one_prompt: 80.01)
train: 99th percentile of time to first token 23.94 s (best baseline volume_one_prompt: 21.75)
train: Requests whose promises are kept 83.97 % (best baseline volume_one_prompt: 84.39)
train: Time per request 1810 ns (best baseline volume_one_prompt: 1408)
valid: Mean latency per output token 79 ms/token (best baseline volume_one_prompt: 81.53)
valid: 99th percentile of time to first token 30.38 s (best baseline volume_one_prompt: 28.6)
valid: Requests whose promises are kept 83.26 % (best baseline volume_one_prompt: 83.66)
valid: Time per request 1852 ns (best baseline volume_one_prompt: 1265)
test: Mean latency per output token 83.4 ms/token (best baseline volume_one_prompt: 86.38)
test: 99th percentile of time to first token 55.65 s (best baseline volume_one_prompt: 54.42)
test: Requests whose promises are kept 81.5 % (best baseline volume_one_prompt: 82.33)
test: Time per request 2050 ns (best baseline volume_one_prompt: 1372)
shift-gpu: Mean latency per output token 46.5 ms/token (best baseline volume_one_prompt: 47.85)
shift-gpu: 99th percentile of time to first token 22.2 s (best baseline volume_one_prompt: 22.88)
shift-gpu: Requests whose promises are kept 91.83 % (best baseline volume_one_prompt: 92.2)
shift-gpu: Time per request 1691 ns (best baseline volume_one_prompt: 1350)
shift-model: Mean latency per output token 84.43 ms/token (best baseline volume_one_prompt: 91.09)
shift-model: 99th percentile of time to first token 56.07 s (best baseline volume_one_prompt: 27.75)
shift-model: Requests whose promises are kept 82.33 % (best baseline volume_one_prompt: 72.58)
shift-model: Time per request 2529 ns (best baseline volume_one_prompt: 1627)
shift-load: Mean latency per output token 93.73 ms/token (best baseline volume_one_prompt: 96.93)
shift-load: 99th percentile of time to first token 85.05 s (best baseline volume_one_prompt: 84.43)
shift-load: Requests whose promises are kept 79.53 % (best baseline volume_one_prompt: 79.9)
shift-load: Time per request 2464 ns (best baseline volume_one_prompt: 1616)
shift-predictor: Mean latency per output token 82.24 ms/token (best baseline volume_one_prompt: 84.07)
shift-predictor: 99th percentile of time to first token 29.51 s (best baseline volume_one_prompt: 25.18)
shift-predictor: Requests whose promises are kept 83.33 % (best baseline volume_one_prompt: 84.37)
shift-predictor: Time per request 1845 ns (best baseline volume_one_prompt: 1286)
shift-burst: Mean latency per output token 99.57 ms/token (best baseline volume_one_prompt: 103.6)
shift-burst: 99th percentile of time to first token 54.77 s (best baseline volume_one_prompt: 53.23)
shift-burst: Requests whose promises are kept 70.97 % (best baseline volume_one_prompt: 72.3)
shift-burst: Time per request 2430 ns (best baseline volume_one_prompt: 1627)

Licence: CC0-1.0
"""


def order(request, server):
    return request.predicted_left * (request.prefill_left + request.predicted_left) * (request.predicted_left * (request.prefill_left + 2.13 * request.predicted_left))


def admit(request, server, memory):
    return 2.61 if server.prefill_left < 1.44 and memory.predicted_peak <= 0.97 * server.capacity else -0.748


def chunk(server):
    return (359.0 - server.decoding + 0.0923 * ((0.209 - server.decode_step) * (2.66 + server.capacity / (server.context + 0.683)) / server.token_time)) * (server.prefilling / (server.decoding + 1.91)) ** 0.249


def evict(request, server):
    return request.predicted_left


# evolve-record: {"problem":"serving/continuous_batching","decoder":"one-server","objectives":{"train":{"normalised_latency":77.59820925298021,"p99_ttft":23.942337958020044,"slo_attainment":83.9675925925926},"valid":{"normalised_latency":78.99702033246169,"p99_ttft":30.38245538497212,"slo_attainment":83.2611111111111},"test":{"normalised_latency":83.3995717475158,"p99_ttft":55.652292286365345,"slo_attainment":81.50185185185185},"shift-gpu":{"normalised_latency":46.50402636672935,"p99_ttft":22.197915524466747,"slo_attainment":91.825},"shift-model":{"normalised_latency":84.43285272176583,"p99_ttft":56.065187013862094,"slo_attainment":82.325},"shift-load":{"normalised_latency":93.7342197825733,"p99_ttft":85.04727320262623,"slo_attainment":79.53333333333333},"shift-predictor":{"normalised_latency":82.23816014771778,"p99_ttft":29.510781851464188,"slo_attainment":83.33333333333333},"shift-burst":{"normalised_latency":99.56578630092851,"p99_ttft":54.774561398866034,"slo_attainment":70.96666666666667}}}
