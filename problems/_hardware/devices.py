"""GPUs and inference engines: peaks, fitted efficiencies and overheads, each with its source.

The numbers stand in devices.toml and engines.toml. A user's file has the same form; it may name a
device to start from (``like = "H100"``) and then state only what differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from problems._hardware._toml import Entry, Rule, entry, read, refuse_unknown
from problems.problem import BadInstance
from problems.registry import unknown

HERE = Path(__file__).parent
_POSITIVE = Rule("a number > 0")
_NOT_NEGATIVE = Rule("a number >= 0", above=False)
_SHARE = Rule("an efficiency in (0, 1.1]", high=1.1)  # above 1 only by boost clocks


class Device(NamedTuple):
    """One GPU. Rates are of the whole device; lists are for groups of 2, 4 and 8 GPUs of one node."""

    name: str
    peak_flops: float  # dense bf16 FLOP/s
    bandwidth_bytes_per_s: float  # of the device memory
    memory_bytes: float
    nvlink_bytes_per_s: float  # both directions together; 0: none
    pcie_bytes_per_s: float  # one direction
    gemm_floor_s: float  # t0 of a kernel
    gemm_bandwidth_efficiency: float  # eB
    gemm_flops_efficiency: float  # eF
    gemm_sharpness: float  # q of the smooth maximum of memory and compute time
    attention_floor_s: float  # per layer and kernel
    attention_bandwidth_efficiency: float  # decode attention
    attention_flops_efficiency: float  # prefill attention
    small_op_floor_s: float  # norm, activation, rotary embedding: per kernel
    small_op_bandwidth_efficiency: float
    allreduce_floor_s: tuple[float, ...]
    allreduce_bytes_per_s: tuple[float, ...]  # bus bandwidth
    send_bytes_per_s: float  # point to point inside a node


class Engine(NamedTuple):
    """What an inference engine adds to the kernels of a step."""

    name: str
    step_s: float  # scheduling, sampling, output: once per step
    sequence_s: float  # per sequence of a step
    launch_per_layer_s: float  # CPU time to launch a layer's kernels; hidden while the GPU is slower
    prefill_launch_per_layer_s: float  # the same, in steps that compute prompt tokens
    gap_per_layer_s: float  # the GPU idles between kernels that are launched one by one


_GROUPS = Rule("three numbers > 0, for 2, 4 and 8 GPUs", length=3)
DEVICE_RULES = {
    "peak_flops": _POSITIVE,
    "bandwidth_bytes_per_s": _POSITIVE,
    "memory_bytes": _POSITIVE,
    "nvlink_bytes_per_s": _NOT_NEGATIVE,
    "pcie_bytes_per_s": _POSITIVE,
    "gemm_floor_s": _NOT_NEGATIVE,
    "gemm_bandwidth_efficiency": _SHARE,
    "gemm_flops_efficiency": _SHARE,
    "gemm_sharpness": Rule("a number >= 1", low=1.0, above=False),
    "attention_floor_s": _NOT_NEGATIVE,
    "attention_bandwidth_efficiency": _SHARE,
    "attention_flops_efficiency": _SHARE,
    "small_op_floor_s": _NOT_NEGATIVE,
    "small_op_bandwidth_efficiency": _SHARE,
    "allreduce_floor_s": _GROUPS,
    "allreduce_bytes_per_s": _GROUPS,
    "send_bytes_per_s": _POSITIVE,
}
ENGINE_RULES = dict.fromkeys(Engine._fields[1:], _NOT_NEGATIVE)


class DeviceRecord(NamedTuple):
    """A device with the source of each of its numbers."""

    device: Device
    aliases: tuple[str, ...]
    sources: dict[str, str]  # number -> where it comes from


def devices_of(
    content: dict[str, Any], path: Path, base: dict[str, DeviceRecord] | None = None
) -> dict[str, DeviceRecord]:
    """Devices by name from the tables of a file; ``base`` are those that ``like`` may name.

    Raises
    ------
    BadInstance
        If a number is missing, unknown or breaks its rule; the message names file, key and rule.
    """
    known = dict(base or {})
    found: dict[str, DeviceRecord] = {}
    for name, table in content.items():
        if name != "sources":
            found[name] = known[name] = _device(content, path, name, table, known)
    return found


def _device(
    content: dict[str, Any], path: Path, name: str, table: dict[str, Any], known: dict[str, DeviceRecord]
) -> DeviceRecord:
    entries: dict[str, Entry] = {}
    refuse_unknown(path, name, table, dict.fromkeys(("aliases", "like", *DEVICE_RULES)))
    if "like" in table:
        start = find_device(table["like"], known, f"{path}, {name}.like: ")
        entries = {key: Entry(getattr(start.device, key), f"as {start.device.name}") for key in DEVICE_RULES}
    for key, rule in DEVICE_RULES.items():
        if key in table:
            entries[key] = entry(content, path, name, key, table[key], rule)
        elif key not in entries:
            raise BadInstance(f'{path}, {name}.{key}: missing; state it, or start from a known device: like = "H100"')
    values: dict[str, Any] = {
        key: tuple(e.value) if isinstance(e.value, list) else e.value for key, e in entries.items()
    }
    return DeviceRecord(
        Device(name, **values), tuple(table.get("aliases", ())), {key: e.source for key, e in entries.items()}
    )


def find_device(name: str, known: dict[str, DeviceRecord], place: str = "") -> DeviceRecord:
    """A record by name or alias, in any case; an unknown name is a BadInstance with a suggestion."""
    wanted = str(name).casefold()
    for record in known.values():
        if wanted in (record.device.name.casefold(), *(alias.casefold() for alias in record.aliases)):
            return record
    raise BadInstance(place + unknown("device", str(name), known))


class EngineRecord(NamedTuple):
    """An engine with the source of each of its numbers."""

    engine: Engine
    sources: dict[str, str]


def engines_of(content: dict[str, Any], path: Path) -> dict[str, EngineRecord]:
    """Engines by name from the tables of a file.

    Raises
    ------
    BadInstance
        If a number is missing, unknown or negative.
    """
    found = {}
    for name, table in content.items():
        if name == "sources":
            continue
        refuse_unknown(path, name, table, dict.fromkeys(ENGINE_RULES))
        missing = [key for key in ENGINE_RULES if key not in table]
        if missing:
            raise BadInstance(f"{path}, {name}.{missing[0]}: missing; an engine needs {', '.join(ENGINE_RULES)}")
        entries = {key: entry(content, path, name, key, table[key], rule) for key, rule in ENGINE_RULES.items()}
        engine = Engine(name, **{key: float(e.value) for key, e in entries.items()})
        found[name] = EngineRecord(engine, {key: e.source for key, e in entries.items()})
    return found


# read at import: a sealed worker cannot open files
DEVICES = devices_of(read(HERE / "devices.toml"), HERE / "devices.toml")
ENGINES = engines_of(read(HERE / "engines.toml"), HERE / "engines.toml")
DEFAULT_ENGINE = "vllm-0.19"


def device(name: str | Device) -> Device:
    """A shipped device by name; a Device stands for itself."""
    return name if isinstance(name, Device) else find_device(name, DEVICES).device


def engine(name: str | Engine = DEFAULT_ENGINE) -> Engine:
    """A shipped engine by name; an Engine stands for itself."""
    if isinstance(name, Engine):
        return name
    if name not in ENGINES:
        raise BadInstance(unknown("engine", name, ENGINES))
    return ENGINES[name].engine
