"""Machine code from lowered hooks, in an engine that the zygote prepares and workers inherit."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from numba.core import types
from numba.core.registry import cpu_target


class NativeHook(types.WrapperAddressProtocol):
    """A hook that numba calls by its address, in the C calling convention."""

    def __init__(self, address: int, signature: Any) -> None:
        self._address = address
        self._signature = signature

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """Numba signature."""
        return self._signature


class _Tools(NamedTuple):
    """What compiles one module."""

    builder: Any
    passes: Any
    engine: Any


@cache
def _tools(effort: int) -> _Tools:
    """Passes and an empty engine, for a target machine like numba's own."""
    codegen = cpu_target.target_context.codegen()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=codegen._tm_features,
        opt=effort,
        reloc="static",
        codemodel="jitdefault",
        jit=True,
    )
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    return _Tools(builder, passes, llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine))


def prepare() -> None:
    """Make the engines, so that workers inherit them."""
    for loops in (False, True):
        _tools(_effort(loops))


def _effort(loops: bool) -> int:
    """Code that runs once per call was measured to be as fast without effort, and takes half as long to make."""
    return 2 if loops else 0


def addresses(text: str, names: list[str], *, loops: bool) -> list[int]:
    """Compile LLVM text; where each of the named functions is."""
    tools = _tools(_effort(loops))
    module = llvm.parse_assembly(text)
    # Without calls there is nothing to inline, and passes were measured to take longer than they save.
    if loops or " call " in text:
        tools.passes.run(module, tools.builder)
    tools.engine.add_module(module)
    tools.engine.finalize_object()
    return [tools.engine.get_function_address(name) for name in names]
