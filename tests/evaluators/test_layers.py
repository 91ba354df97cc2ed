"""The layers by themselves: the filter's instructions, and a doctor that notices what is missing."""

from __future__ import annotations

import errno
import json
import struct
import subprocess
import sys

import pytest
from conftest import KEY, needs_sandbox

from evaluators import doctor, launch, seccomp

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM


def verdict(program: bytes, architecture: int, number: int) -> int:
    """Interpret a filter, as the kernel would, on one system call."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == 0x20:
            accumulator = {0: number, 4: architecture}[operand]
        elif code == 0x15:
            position += if_true if accumulator == operand else if_false
        elif code == 0x35:
            position += if_true if accumulator >= operand else if_false
        else:
            assert code == 0x06
            return operand


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_allows_its_list_and_refuses_everything_else(machine: str):
    architecture, allowed = seccomp._TABLES[machine]
    program = seccomp.program(machine)
    for number in [*range(600), 0x40000000, 0x40000000 + 1, 2**32 - 1]:
        assert verdict(program, architecture, number) == (ALLOW if number in allowed.values() else REFUSE)
    assert verdict(program, architecture ^ 1, 0) == KILL


def test_both_tables_allow_the_same_calls():
    x86, arm = (set(seccomp._TABLES[machine][1]) for machine in ("x86_64", "aarch64"))
    assert x86 == arm


def test_an_unknown_architecture_has_no_filter():
    with pytest.raises(OSError, match="no table of system calls for 'pdp11'"):
        seccomp.program("pdp11")


@needs_sandbox
def test_the_doctor_finds_every_layer_working_here(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    records = doctor.examine()
    assert [r["layer"] for r in records] == [
        "environment",
        "descriptors",
        "limits",
        "privileges",
        "landlock",
        "seccomp",
        "group kill",
        "parent death",
        "versions",
    ]
    assert all(record["works"] for record in records), records
    assert KEY not in json.dumps(records)


@pytest.mark.parametrize(
    ("layer", "deed"),
    [("privileges", "root|rights"), ("landlock", "read a file"), ("seccomp", "opened a socket")],
)
def test_the_doctor_sees_through_a_layer_that_does_nothing(layer: str, deed: str):
    script = (
        "from evaluators import doctor, seal\n"
        f"seal.LAYERS = tuple(l._replace(close=lambda: None) if l.name == {layer!r} else l for l in seal.LAYERS)\n"
        "doctor.print_probe()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    record = next(r for r in json.loads(done.stdout) if r["layer"] == layer)
    assert not record["works"]
    assert any(word in record["detail"] for word in deed.split("|"))


def test_a_clean_process_gets_no_variable_that_is_not_named(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    assert KEY not in launch.environment().values()
    assert "PYTHONPATH" not in launch.environment()
