"""EVOLVE-BLOCK regions: the parts of a program that may change, between two marker lines.

All text outside of them, marker lines included, is protected. Blanks at line ends and blank lines
next to markers do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

START, END = "# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END"


class BadRegions(ValueError):
    """Marker lines do not come in pairs, or protected text was changed; the message says which."""


def split(source: str) -> tuple[list[list[str]], list[list[str]]]:
    """Protected lines, marker lines included, and the lines of each region; the former is one longer.

    Raises
    ------
    BadRegions
        If the marker lines do not come in pairs.
    """
    kept: list[list[str]] = [[]]
    regions: list[list[str]] = []
    inside = False
    for line in source.split("\n"):
        mark = line.strip()
        if mark.startswith((START, END)) and mark.startswith(END) != inside:
            raise BadRegions(f"the lines {START!r} and {END!r} must come in pairs, in this order")
        if mark.startswith(END):
            inside = False
            kept.append([])
        (regions[-1] if inside else kept[-1]).append(line)
        if mark.startswith(START):
            inside = True
            regions.append([])
    if inside:
        raise BadRegions(f"the line {START!r} has no {END!r} after it")
    return kept, regions


def keep(parent: str, child: str) -> str:
    """The child with the parent's protected text to the byte, if it changes nothing of that.

    Raises
    ------
    BadRegions
        If protected text or the number of regions differs.
    """
    own, regions = split(parent)
    if not regions:
        return child
    other, regions = split(child)
    if len(own) != len(other):
        raise BadRegions(f"keep the {len(own) - 1} pair(s) of lines {START!r} and {END!r} and all text outside them")
    for before, after in zip(own, other, strict=True):
        wanted, got = ([line.rstrip() for line in without_blank_ends(lines)] for lines in (before, after))
        if wanted != got:
            wrong = next((line for line in wanted if line not in got), "") or next(
                (x for x in got if x not in wanted), ""
            )
            raise BadRegions(f"text outside the EVOLVE-BLOCK region must stay as it is, see {wrong[:80]!r}")
    lines = list(own[0])
    for region, after in zip(regions, own[1:], strict=True):
        lines += [*region, *after]
    return "\n".join(lines)


def without_blank_ends(lines: Sequence[str]) -> list[str]:
    """The lines from the first to the last that is not blank."""
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return list(lines[filled[0] : filled[-1] + 1]) if filled else []
