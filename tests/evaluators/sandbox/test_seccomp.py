"""The system-call filter: its instructions interpreted as the kernel would, and the kernel itself asked."""

from __future__ import annotations

import errno
import struct

import pytest
from conftest import Driver, needs_sandbox

from evaluators.sandbox import seccomp

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
def test_the_kernel_refuses_every_system_call_that_is_not_on_the_list(raw: Driver):
    outcome = raw.evaluate(
        "import ctypes, errno, platform\n"
        "from evaluators.sandbox import seccomp\n"
        # Two that kernels from 6.11 let past every filter; anywhere but in a probe they kill the caller.
        "probes = {335, 336}\n"
        "allowed = probes | set(seccomp._TABLES[platform.machine()][1].values())\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "bad = ctypes.c_long(-1)\n"
        "def passes(number):\n"
        "    return libc.syscall(ctypes.c_long(number), *[bad] * 6) != -1 or ctypes.get_errno() != errno.EPERM\n"
        "numbers = [*range(600), *range(0x40000000, 0x40000000 + 600)]\n"
        "found['said'] = [number for number in numbers if number not in allowed and passes(number)]"
    )
    assert outcome.reason == "survived: []"
