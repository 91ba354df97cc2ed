"""Admitted programs as native code: through numba, or straight to LLVM."""
