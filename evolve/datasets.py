"""Public data sets that problems and experiments refer to: whose they are, under which terms, where they are.

None of them is part of this package, and none is fetched unless the user asks for it by name.
"""

from __future__ import annotations

from typing import NamedTuple

AZURE_PAGE = "https://github.com/Azure/AzurePublicDataset"
GITHUB = "https://raw.githubusercontent.com"
AZURE = "https://azurepublicdatasettraces.blob.core.windows.net"
AZURE_2023 = f"{GITHUB}/Azure/AzurePublicDataset/790921015d50dd6aae7f7e47f39ba0e235ad6b08/data"
_BAILIAN = "https://media.githubusercontent.com/media/alibaba-edu/qwen-bailian-usagetraces-anon"
BAILIAN = f"{_BAILIAN}/0b4273a1d8a83935b9d9356e78f95c31f2ac64cf"
BURSTGPT = "https://github.com/HPMLL/BurstGPT/releases/download/v1.1"
MOONCAKE = f"{GITHUB}/kvcache-ai/Mooncake"
MOONCAKE_TALK = f"{MOONCAKE}/a2a4b18ac537fd798d50e6e9f57031ce86419a37/FAST25-release/traces"
MOONCAKE_MADE = f"{MOONCAKE}/3cca71daccf2a7afb8fe3f0295358f70e3a69fdb/FAST25-release/traces"
ALIBABA_NODES = f"{GITHUB}/alibaba/clusterdata/0c9677bb156ded9c63ca40d9aa54cd31d3e75061/cluster-trace-gpu-v2023/csv"
ALIBABA_PODS = f"{GITHUB}/alibaba/clusterdata/50a91c7c74abe3b658188dc78ac1dd302970d40c/cluster-trace-gpu-v2023/csv"
JSPLIB = "https://codeload.github.com/tamy0612/JSPLIB/zip/876c560d0c4f262bf38064443cc4ff304588c252"
SPOT = f"{GITHUB}/skypilot-org/spot-traces/b26631383e2b5f5b48a3d700b92ed133edaf452e/availability/1-node/aws-02-15-2023"
SPOT_ZONES = {"us-east-1": "acdf", "us-east-2": "ab", "us-west-2": "abc"}


class File(NamedTuple):
    """One file of a data set."""

    url: str
    size_bytes: int | None = None  # None: not known to us
    sha256: str = ""  # empty: not known to us
    save_as: str = ""

    @property
    def name(self) -> str:
        """Name on disk; by default the last part of the address."""
        return self.save_as or self.url.rsplit("/", 1)[-1]


class Dataset(NamedTuple):
    """One data set."""

    name: str
    family: str  # classic, cloud or llm
    title: str
    licence: str
    page: str  # where its owners describe it
    size: str  # in words
    files: tuple[File, ...] = ()  # none: to be fetched by hand from the page


DATASETS = (
    Dataset(
        "azure-llm-2023-code",
        "llm",
        "Azure LLM inference, code completion, one hour of November 2023 (cite Patel et al., ISCA 2024)",
        "CC-BY 4.0",
        f"{AZURE_PAGE}/blob/master/AzureLLMInferenceDataset2023.md",
        "8,819 requests",
        (File(f"{AZURE_2023}/AzureLLMInferenceTrace_code.csv"),),
    ),
    Dataset(
        "azure-llm-2023-conv",
        "llm",
        "Azure LLM inference, conversations, one hour of November 2023 (cite Patel et al., ISCA 2024)",
        "CC-BY 4.0",
        f"{AZURE_PAGE}/blob/master/AzureLLMInferenceDataset2023.md",
        "19,366 requests",
        (File(f"{AZURE_2023}/AzureLLMInferenceTrace_conv.csv"),),
    ),
    Dataset(
        "azure-llm-2024",
        "llm",
        "Azure LLM inference, code completion and conversations, a week of May 2024 (cite Stojkovic et al., HPCA 2025)",
        "CC-BY 4.0",
        f"{AZURE_PAGE}/blob/master/AzureLLMInferenceDataset2024.md",
        "over 1 GB",
        tuple(
            File(f"{AZURE}/azurellminfererencetrace/AzureLLMInferenceTrace_{which}_1week.csv")
            for which in ("code", "conv")
        ),
    ),
    Dataset(
        "burstgpt-1",
        "llm",
        "BurstGPT, first two months, failures included (cite Wang et al., 2024)",
        "CC-BY 4.0",
        "https://github.com/HPMLL/BurstGPT",
        "1.43 million requests",
        (File(f"{BURSTGPT}/BurstGPT_1.csv"),),
    ),
    Dataset(
        "burstgpt-2",
        "llm",
        "BurstGPT, second two months, failures included (cite Wang et al., 2024)",
        "CC-BY 4.0",
        "https://github.com/HPMLL/BurstGPT",
        "3.86 million requests",
        (File(f"{BURSTGPT}/BurstGPT_2.csv"),),
    ),
    Dataset(
        "mooncake-conversation",
        "llm",
        "Mooncake conversations with prefix blocks of 512 tokens (cite Qin et al., FAST 2025)",
        "Apache-2.0",
        "https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release",
        "about 12,000 requests",
        (File(f"{MOONCAKE}/a2a4b18ac537fd798d50e6e9f57031ce86419a37/FAST25-release/traces/conversation_trace.jsonl"),),
    ),
    Dataset(
        "mooncake-toolagent",
        "llm",
        "Mooncake tools and agents with prefix blocks of 512 tokens (cite Qin et al., FAST 2025)",
        "Apache-2.0",
        "https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release",
        "23,608 requests",
        (File(f"{MOONCAKE}/main/FAST25-release/traces/toolagent_trace.jsonl"),),
    ),
    Dataset(
        "mooncake-synthetic",
        "llm",
        "Mooncake synthetic long-context mixture with prefix blocks of 512 tokens (cite Qin et al., FAST 2025)",
        "Apache-2.0",
        "https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release",
        "thousands of requests",
        (File(f"{MOONCAKE_MADE}/synthetic_trace.jsonl"),),
    ),
    Dataset(
        "bailian-coder",
        "llm",
        "Qwen-Bailian, coding model, two hours, blocks of 16 tokens (cite Wang et al., USENIX ATC 2025)",
        "Apache-2.0",
        "https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon",
        "132 MB",
        (
            File(
                f"{BAILIAN}/qwen_coder_blksz_16.jsonl",
                132_054_902,
                "3d74974cebb7bccb69b1ca6ea210a44d9a3033443c0271ed015327284dea1aff",
            ),
        ),
    ),
    Dataset(
        "bailian-thinking",
        "llm",
        "Qwen-Bailian, thinking model, two hours, blocks of 16 tokens (cite Wang et al., USENIX ATC 2025)",
        "Apache-2.0",
        "https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon",
        "28 MB",
        (
            File(
                f"{BAILIAN}/qwen_thinking_blksz_16.jsonl",
                27_901_454,
                "41ac36d9d1b54d084eeb6b05e9d142ba9d02f8bf79cfc9fff418d8ab7cdee906",
            ),
        ),
    ),
    Dataset(
        "vidur-profiles",
        "llm",
        "Kernel and collective profiles of A100, H100 and A40; arXiv lengths (cite Agrawal et al., MLSys 2024)",
        "MIT",
        "https://github.com/microsoft/vidur",
        "tens of MB",
    ),
    Dataset(
        "llmservingsim-runs",
        "llm",
        "Profiles and measured vLLM runs on RTX PRO 6000",
        "MIT",
        "https://github.com/casys-kaist/LLMServingSim",
        "tens of MB",
    ),
    Dataset(
        "splitwise-latencies",
        "llm",
        "Measured Llama-2-70B latencies on A100 and H100",
        "MIT",
        "https://github.com/Mutinifni/splitwise-sim",
        "below 1 MB",
    ),
    Dataset(
        "gavel-throughputs",
        "llm",
        "Training throughputs alone and in pairs on K80, P100, V100; Philly job lists",
        "MIT",
        "https://github.com/stanford-futuredata/gavel",
        "below 10 MB",
    ),
    Dataset(
        "acme-cluster",
        "llm",
        "Acme: training jobs of two LLM clusters",
        "CC-BY 4.0",
        "https://github.com/InternLM/AcmeTrace",
        "hundreds of MB",
    ),
    Dataset(
        "jsplib",
        "classic",
        "Job shops ft, la, orb, ta and others with best-known values",
        "none stated; facts from the OR-Library and Taillard",
        "https://github.com/tamy0612/JSPLIB",
        "162 instances",
        (File(JSPLIB, save_as="jsplib.zip"),),
    ),
    Dataset(
        "scheduleopt-bounds",
        "classic",
        "Bounds of job, flow and flexible job shops and of RCPSP",
        "CC BY-SA 4.0",
        "https://github.com/ScheduleOpt/benchmarks",
        "below 100 MB",
    ),
    Dataset(
        "psplib",
        "classic",
        "Resource-constrained projects J30 to J120",
        "none stated; for research",
        "https://www.om-db.wi.tum.de/psplib/",
        "below 10 MB",
    ),
    Dataset(
        "wt40",
        "classic",
        "Weighted tardiness, n = 40, 125 instances",
        "OR-Library, free for research",
        "https://people.brunel.ac.uk/~mastjjb/jeb/orlib/wtinfo.html",
        "below 1 MB",
        (File("https://people.brunel.ac.uk/~mastjjb/jeb/orlib/files/wt40.txt"),),
    ),
    Dataset(
        "solomon",
        "classic",
        "Vehicle routing with time windows, 56 instances",
        "none stated; Solomon (1987)",
        "https://www.sintef.no/projectweb/top/vrptw/solomon-benchmark/",
        "below 1 MB",
    ),
    Dataset(
        "spot-v100",
        "cloud",
        "Availability of a V100 spot instance in nine AWS zones, 2023 (cite Wu et al., NSDI 2024)",
        "none upstream; cite",
        "https://github.com/skypilot-org/spot-traces",
        "nine files",
        tuple(File(f"{SPOT}/{region}{zone}_v100_1.json") for region, zones in SPOT_ZONES.items() for zone in zones),
    ),
    Dataset(
        "alibaba-gpu-2023",
        "cloud",
        "Nodes and pods of a production GPU cluster (cite Weng et al., USENIX ATC 2023)",
        "none stated in its folder; for research and study",
        "https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2023",
        "about 1 MB",
        (File(f"{ALIBABA_NODES}/openb_node_list_all_node.csv"), File(f"{ALIBABA_PODS}/openb_pod_list_default.csv")),
    ),
    Dataset(
        "azure-packing-2020",
        "cloud",
        "Virtual machine requests for packing (cite Hadary et al., OSDI 2020)",
        "CC-BY 4.0",
        f"{AZURE_PAGE}/blob/master/AzureTracesForPacking2020.md",
        "hundreds of MB",
        (File(f"{AZURE}/azurepublicdatasetv2/azurevmallocation_dataset2020/AzurePackingTraceV1.zip"),),
    ),
    Dataset(
        "cloudcast",
        "cloud",
        "Egress prices and throughput between 71 cloud regions",
        "MIT, Apache-2.0",
        "https://github.com/FrontierCS/Frontier-CS",
        "below 1 MB",
    ),
    Dataset(
        "huawei-private-2023",
        "cloud",
        "Serverless calls per minute of a private cloud",
        "CC-BY 4.0",
        "https://github.com/sir-lab/data-release",
        "several GB",
    ),
    Dataset(
        "agentcgroup",
        "cloud",
        "Turns, tools and resources of coding agents",
        "GPL-2.0 repository",
        "https://github.com/eunomia-bpf/agentcgroup",
        "below 100 MB",
    ),
    Dataset(
        "routerbench",
        "cloud",
        "Correctness and cost of eleven LLMs on common prompts",
        "MIT",
        "https://github.com/withmartian/routerbench",
        "hundreds of MB",
    ),
)
BY_NAME = {dataset.name: dataset for dataset in DATASETS}
