"""What papers claim of offloading."""

from __future__ import annotations

from problems.claims import Claim

CLAIMS: tuple[Claim, ...] = ()
