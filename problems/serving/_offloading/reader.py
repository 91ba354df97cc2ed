"""Reader of prompts with block ids for servers with tiers of memory: CSV, as of serving/prefix_eviction."""

from __future__ import annotations

from pathlib import Path

from problems.problem import Instance
from problems.serving._eviction.data import Prompts
from problems.serving._eviction.reader import COLUMNS, SERVER, Server, read_files
from problems.serving._offloading.data import POOL_BYTES_PER_S, Memory, Offloading, on_host

FORMAT = COLUMNS + (
    "a first line '# device=H100 model=Qwen2.5-7B tp=1 blocks=2000 block_tokens=512 host_blocks=6000 remote_blocks=0 "
    "pool_mbit_per_s=25000' names the server"
)
_SERVER = {
    **SERVER,
    "host_blocks": "6000",
    "remote_blocks": "0",
    "pool_mbit_per_s": str(round(POOL_BYTES_PER_S * 8 / 1e6)),
}


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return read_files(path, _SERVER, _served)


def _served(prompts: Prompts, server: Server) -> Offloading:
    if (mbit_per_s := int(server["pool_mbit_per_s"])) <= 0:
        raise ValueError(f"pool_mbit_per_s must be positive, got {mbit_per_s}")
    memory = Memory(
        int(server["blocks"]),
        int(server["host_blocks"]),
        int(server["remote_blocks"]),
        pool_bytes_per_s=mbit_per_s * 1e6 / 8,
    )
    host = (server["device"], server["model"], int(server["tp"]))
    return on_host(prompts, host, memory, block_tokens=int(server["block_tokens"]))
