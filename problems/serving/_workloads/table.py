"""Fitted constants of the workloads, by ``python benchmarks/workloads.py fit``; rounded to three digits.

Lengths are mixtures over (input, output) tokens, fitted by expectation maximisation on the logarithms.

References
----------
.. [1] Azure/AzurePublicDataset, LLM inference traces of November 2023 (CC-BY 4.0); Patel et al. (2024), "Splitwise",
   ISCA. First 65 % of the traces in time.
.. [2] kvcache-ai/Mooncake, conversation trace (Apache-2.0); Qin et al. (2025), "Mooncake", FAST. First 7,500 requests.
.. [3] microsoft/vidur, lengths of arXiv summarisation (MIT); Agrawal et al. (2024), "Vidur", MLSys.
.. [4] eunomia-bpf/agentcgroup, coding-agent tasks on a local model: measured turns, tokens and tool times.
.. [5] Relaxed-System-Lab/Hexgen-Flow, text-to-SQL workflow: token statistics by step, computed from its inputs.
"""

from __future__ import annotations

from typing import NamedTuple

from problems.serving._workloads.mixtures import Mixture

AZURE_CODE = Mixture(
    weights=(0.191, 0.186, 0.183, 0.103, 0.102, 0.0971, 0.0912, 0.0478),
    medians=(
        (1820.0, 16.5),
        (193.0, 11.8),
        (1550.0, 9.4),
        (2260.0, 64.2),
        (1730.0, 6.38),
        (1130.0, 39.3),
        (5160.0, 11.5),
        (168.0, 49.2),
    ),
    spreads=(
        (0.624, 0.31),
        (1.12, 0.389),
        (0.532, 0.195),
        (0.677, 0.951),
        (0.791, 0.0777),
        (1.07, 0.45),
        (0.355, 0.297),
        (1.33, 0.96),
    ),
    low=(3.0, 6.0),
    high=(7437.0, 1899.0),
)
AZURE_CONV = Mixture(
    weights=(0.304, 0.25, 0.168, 0.121, 0.0571, 0.0529, 0.0276, 0.0197),
    medians=(
        (398.0, 91.4),
        (1070.0, 404.0),
        (1550.0, 94.7),
        (4090.0, 54.6),
        (195.0, 173.0),
        (1080.0, 531.0),
        (235.0, 30.4),
        (34.6, 164.0),
    ),
    spreads=(
        (0.0449, 0.262),
        (0.0664, 0.0485),
        (0.416, 0.511),
        (0.01, 0.45),
        (0.0748, 0.22),
        (0.0652, 0.186),
        (0.496, 1.06),
        (0.978, 0.2),
    ),
    low=(2.0, 7.0),
    high=(14050.0, 1000.0),
)
ARXIV = Mixture(
    weights=(0.311, 0.2, 0.191, 0.149, 0.0987, 0.0492),
    medians=((2100.0, 147.0), (2710.0, 173.0), (3280.0, 166.0), (3720.0, 146.0), (1120.0, 162.0), (187.0, 2320.0)),
    spreads=((0.241, 0.689), (0.131, 0.419), (0.0716, 0.584), (0.0373, 0.449), (0.582, 0.589), (1.81, 0.395)),
    low=(1.0, 5.0),
    high=(4046.0, 4056.0),
)
AZURE_CODE_GAPS = Mixture(
    weights=(0.333, 0.241, 0.178, 0.177, 0.0709),
    medians=((0.133,), (0.000574,), (0.00479,), (0.0976,), (0.0569,)),
    # the last one, 3.04 by likelihood, is widened until the mean gap is the trace's
    spreads=((0.835,), (1.5,), (1.4,), (0.05,), (3.17,)),
    low=(0.0001,),
    high=(173.5,),
)
# first requests of conversations
MOONCAKE_FIRST = Mixture(
    weights=(0.224, 0.153, 0.136, 0.126, 0.116, 0.0998, 0.0931, 0.0523),
    medians=(
        (7210.0, 420.0),
        (9880.0, 19.6),
        (906.0, 175.0),
        (19300.0, 444.0),
        (5750.0, 261.0),
        (14600.0, 393.0),
        (1310.0, 428.0),
        (1120.0, 66.8),
    ),
    spreads=(
        (0.689, 0.226),
        (1.01, 1.3),
        (0.02, 1.37),
        (0.791, 0.27),
        (0.585, 0.583),
        (0.983, 0.68),
        (0.226, 0.353),
        (0.138, 1.43),
    ),
    low=(891.0, 1.0),
    high=(124847.0, 2000.0),
)
# answers of later turns
MOONCAKE_LATER = Mixture(
    (0.511, 0.259, 0.23), ((433.0,), (301.0,), (39.1,)), ((0.296,), (0.769,), (1.58,)), low=(1.0,), high=(2000.0,)
)
# seconds between a request and the one that continues it, answer included
MOONCAKE_PAUSE = Mixture((0.686, 0.314), ((86.5,), (308.0,)), ((0.763,), (0.622,)), low=(3.0,), high=(1788.0,))
MOONCAKE_ADDED = Mixture(
    (0.607, 0.255, 0.138), ((7.6,), (299.0,), (4910.0,)), ((1.56,), (2.12,), (0.6,)), low=(1.0,), high=(91467.0,)
)
MOONCAKE_GOES_ON = (0.30, 0.39, 0.51, 0.56, 0.61)  # share of conversations at a turn that have another
MOONCAKE_SYSTEM_TOKENS = 512  # the one block that all requests share

AGENT_TURNS = (44.2, 0.549)  # median and spread of the log-normal number of turns of a task
AGENT_SYSTEM_TOKENS = 13_200  # the smallest first prompt: instructions and tools
AGENT_FIRST_TOKENS = 13_500
AGENT_OUTPUT = Mixture((0.647, 0.353), ((267.0,), (66.6,)), ((0.816,), (0.307,)), low=(1.0,), high=(8977.0,))
AGENT_TOOLS = Mixture(
    (0.577, 0.286, 0.138), ((0.02,), (8.21,), (0.529,)), ((0.577,), (0.23,), (2.27,)), low=(0.01,), high=(307.9,)
)
AGENT_ADDED = Mixture((0.739, 0.261), ((294.0,), (1.0,)), ((1.48,), (0.1,)), low=(1.0,), high=(36681.0,))


class Step(NamedTuple):
    """One kind of call of the text-to-SQL workflow: 10 %, 50 % and 90 % quantiles of its tokens."""

    calls_per_query: float
    input_tokens: tuple[float, float, float]
    output_tokens: tuple[float, float, float]


# 342 queries, 11-28 calls each
TEXT_TO_SQL = (
    Step(1.00, (646, 674, 711), (26, 47, 73)),  # extract keywords
    Step(4.90, (301, 306, 312), (4, 5, 24.5)),  # retrieve information
    Step(2.45, (8020.7, 11000, 13879), (431, 620, 1006)),  # generate candidates
    Step(4.15, (5738, 7735, 8021), (19, 106, 170)),  # revise
    Step(1.18, (853, 1109, 1439), (57.2, 100, 128)),  # generate unit tests
    Step(6.06, (744, 1030, 1409), (22, 22, 22)),  # evaluate
    Step(3.68, (271, 275, 278), (4, 4, 6)),  # test
)
