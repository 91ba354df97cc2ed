"""Formats of the weights of a model's layers: bytes that a weight takes, and how fast products read them.

A kernel for packed weights unpacks them in place. What that costs shows as bandwidth: the rate at which stored bytes
are read, over the rate of the device's bf16 products. bytes / 4 alone would make all 4-bit kernels alike; measured
ones differ by a factor of three.
"""

from __future__ import annotations

from typing import NamedTuple

from problems.problem import BadInstance
from problems.registry import unknown


class WeightFormat(NamedTuple):
    """How weights of attention, feed-forward blocks and experts are stored; embeddings, head and router stay bf16."""

    bytes_per_weight: float  # scales and zero points included
    efficiency: float  # of reading them, over that of bf16 weights
    source: str

    @property
    def read_bytes(self) -> float:
        """Bytes of bf16 weights that take as long to read as one weight."""
        return self.bytes_per_weight / self.efficiency


_L4 = "fitted to Qwen2.5-7B decode on an L4 (study of memory-bound decoding), "
FORMATS = {
    "bf16": WeightFormat(2.0, 1.0, "by definition"),
    # 4 bits, and a 32-bit scale per 64 weights
    "nf4": WeightFormat(0.5 + 4 / 64, 0.300, _L4 + "bitsandbytes, 59.36 ms, engine transformers-eager"),
    # 4 bits, and a 16-bit scale and a 4-bit zero point per 128 weights
    "awq-marlin": WeightFormat(
        0.5 + 2.5 / 128, 0.405, _L4 + "AutoAWQ with Marlin, 45.24 ms, engine transformers-eager"
    ),
    "gptq-exllamav2": WeightFormat(0.5 + 2.5 / 128, 1.014, _L4 + "GPTQ with ExLlamaV2, 17.36 ms, engine kernels-only"),
}


def weight_format(name: str) -> WeightFormat:
    """A format by name.

    Raises
    ------
    BadInstance
        If there is none of that name.
    """
    if name not in FORMATS:
        raise BadInstance(unknown("weight format", str(name), FORMATS))
    return FORMATS[name]
