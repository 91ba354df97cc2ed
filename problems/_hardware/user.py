"""A user's devices, models and engines, from one TOML file.

::

    [devices.MyGPU]
    like = "H100"                       # start from a known one, state what differs
    bandwidth_bytes_per_s = 2.0e12      # or [2.0e12, "where the number comes from"]

    [models.MyModel]
    like = "Llama-3.1-8B"
    layers = 40

    [engines.mine]                      # all of an engine's numbers
    step_s = 1e-3
    ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from problems._hardware._toml import check_tables, read
from problems._hardware.devices import DEVICES, ENGINES, DeviceRecord, EngineRecord, devices_of, engines_of
from problems._hardware.models import MODELS, ModelRecord, models_of
from problems.problem import BadInstance

PARTS = ("devices", "models", "engines")


class Hardware(NamedTuple):
    """Devices, models and engines by name."""

    devices: dict[str, DeviceRecord]
    models: dict[str, ModelRecord]
    engines: dict[str, EngineRecord]


SHIPPED = Hardware(DEVICES, MODELS, ENGINES)


def load(path: Path | None) -> Hardware:
    """What we ship and, where a file is given, what it adds or replaces.

    Raises
    ------
    BadInstance
        If the file breaks the format; the message names file, key and rule.
    """
    if path is None:
        return SHIPPED
    content = read(path)
    for part in content:
        if part not in (*PARTS, "sources"):
            raise BadInstance(f"{path}, {part}: there is no such table; known: {', '.join(PARTS)}, sources")
    tables: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        check_tables(content.get(part, {}), path, f"{part}.")
        tables[part] = {**content.get(part, {}), "sources": content.get("sources", {})}
    return Hardware(
        DEVICES | devices_of(tables["devices"], path, DEVICES),
        MODELS | models_of(tables["models"], path, MODELS),
        ENGINES | engines_of(tables["engines"], path),
    )
