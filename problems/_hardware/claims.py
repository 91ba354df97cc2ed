"""What papers claim of single devices and of the operators of one step, where no problem's rule is concerned."""

from __future__ import annotations

from problems._hardware import experiments
from problems.claims import Claim

CLAIMS = (
    Claim(
        "NanoFlow (2024)",
        "nano-batches that overlap over operators one after the other: throughput",
        "1.91x",
        1.91,
        1.91,
        setting="Llama-2-70B on 8 A100, full batches of 2048 tokens, prompts and outputs of 512; kernels that overlap "
        "do not hinder one another; theirs: over the best of three engines",
        experiment=lambda _: experiments.nano_batches(),
        why="a bound on what overlap can give on this roofline; the rest is the overhead of the engines compared with",
    ),
    Claim(
        "NanoFlow (2024)",
        "throughput with overlap as part of the ceiling, peak * eF / (2 * active parameters)",
        "59-72 %",
        59.0,
        72.0,
        unit=" %",
        setting="as above",
        experiment=lambda _: experiments.share_of_ceiling(),
        neutral=1.0,
    ),
    Claim(
        "APEX (2025)",
        "decode attention of some sequences on the host over GPU alone: throughput, A10",
        "1.11-1.89x",
        1.11,
        1.89,
        setting="Llama-3.1-8B, prompts and outputs of 512, a host of 150 GB/s, two sub-batches in turns, at most 0.2 s "
        "per token; with a host of 60 GB/s it does not pay (1.00x)",
        experiment=lambda _: experiments.host_attention("A10", "Llama-3.1-8B", 0.9),
    ),
    Claim(
        "APEX (2025)",
        "decode attention of some sequences on the host over GPU alone: throughput, T4",
        "1.84-1.96x",
        1.84,
        1.96,
        setting="as above, Llama-2-7B, 98 % of the memory used",
        experiment=lambda _: experiments.host_attention("T4", "Llama-2-7B", 0.98),
        why="beside the weights a T4 has room for two sequences, so that the host's bandwidth sets the factor: 3.4x "
        "with 60 GB/s, 1.9x with 30 GB/s",
    ),
    Claim(
        "D2MoE (2025)",
        "hottest expert first keeps loading and computing busy best: makespan over the optimum (Johnson's rule)",
        "best order; no figure",
        1.0,
        1.0,
        unit="x optimum",
        setting="worst of 500 layers of Qwen3-30B-A3B, experts of 2 to 8 bits over PCIe; with equal sizes it is "
        "optimal, as Johnson's rule proves",
        experiment=lambda _: experiments.hottest_first(nested=True),
        tolerance=0.01,
    ),
    Claim(
        "D2MoE (2025)",
        "throughput over other frameworks on devices",
        "1.39x",
        1.39,
        1.39,
        setting="order alone: hottest first over order of number, mean of the same layers",
        experiment=lambda _: experiments.loading_order(),
        why="a hot expert has more bits and is long in loading, too; what is gained comes from fewer bits, not "
        "from order",
    ),
    Claim(
        "FlashInfer (2025)",
        "tiles of KV cache balanced over SMs over a compiler's backend: time between tokens",
        "29-69 % lower (1.41-3.23x)",
        1.41,
        3.23,
        setting="Llama-3.1-8B on an H100, 16 sequences of log-normal length; over eight equal pieces per sequence",
        experiment=lambda _: experiments.balanced_tiles(),
        why="eight pieces per sequence and KV head already fill 132 SMs evenly; over whole sequences it is 1.84x, and "
        "the rest of the published gain is that of kernels",
    ),
    Claim(
        "xLLM (2025)",
        "throughput over MindIE and vLLM-Ascend",
        "1.7x and 2.2x",
        why="compares whole engines on Ascend (graphs, kernels, speculation); no figure was found for its scheduling "
        "alone",
    ),
)
