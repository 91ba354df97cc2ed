"""Edits: the program that a model's reply makes of its parent, or a refusal the model can act on.

Where the parent marks regions with lines ``# EVOLVE-BLOCK-START`` and ``# EVOLVE-BLOCK-END``, all
text outside them, marker lines included, stays as it is. Every refusal is an EditRefused with one
sentence; none costs an evaluation.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence

from evaluators.admission import regions
from evaluators.admission.canonical import canonical_hash
from evolve.proposers.proposer import EditRefused
from evolve.replies import Block, answer, extract_program, parse_blocks, syntax_error


def apply(
    parent: str, reply: str, hooks: Sequence[str] = (), *, cut: bool = False, whole: bool = False, mends: bool = False
) -> str:
    """The child that a reply makes of its parent, whichever of the two forms the reply uses.

    Parameters
    ----------
    parent : str
        Source of the program that is edited.
    reply : str
        The model's reply.
    hooks : sequence of str
        Functions that a whole program must define; they tell it from other code in the reply.
    cut : bool
        Whether the reply was cut short, so that its last code block may be half a program.
    whole : bool
        Whether programs are ordinary Python, of which only comments and layout count for nothing.
    mends : bool
        Whether the parent was not admitted or did not compile: then dead code counts, it may be why.

    Returns
    -------
    Source that parses, keeps the parent's protected text and is not the parent in other words.

    Raises
    ------
    EditRefused
        If there is no code, a block is malformed or matches nothing or several places, the result
        does not parse, protected text would change, or the child would compute what the parent does.
    """
    reply = answer(reply)
    blocks = parse_blocks(reply)
    child = replace_blocks(parent, blocks) if blocks else extract_program(reply, hooks, cut=cut)
    child = keep_protected(parent, child)
    flaw = syntax_error(child)
    if flaw:
        raise EditRefused(f"the edited program does not parse: {flaw}")
    roots = () if whole else tuple(hooks)
    if parent == child or (not mends and canonical_hash(parent, roots) == canonical_hash(child, roots)):
        raise EditRefused("the edit changes nothing but names, layout or dead code: change what the program computes")
    return child


# SEARCH/REPLACE


def replace_blocks(source: str, blocks: Sequence[Block]) -> str:
    """Apply blocks one after another, each to what the one before left.

    Whole lines are compared. If no place matches exactly, one counts that differs by a common
    shift of the indentation and by blanks at line ends; the replacement is shifted likewise.

    Raises
    ------
    EditRefused
        If a block matches no place or several.
    """
    lines = source.removesuffix("\n").split("\n")
    for number, block in enumerate(blocks, start=1):
        if not any(line.strip() for line in block.search):
            raise EditRefused(f"SEARCH block {number} is empty: quote the lines to replace")
        search, replacement = block
        places = [i for i in range(len(lines)) if lines[i : i + len(search)] == search]
        if not places:
            search, replacement = _tidy(search), _tidy(replacement)
            places = _shifted_places(lines, search)
        if not places:
            raise EditRefused(_no_match(lines, search, number))
        if len(places) > 1:
            at = ", ".join(str(place + 1) for place in places[:4])
            hint = "quote more lines around the one you mean"
            raise EditRefused(f"SEARCH block {number} matches {len(places)} places (lines {at}): {hint}")
        found = slice(places[0], places[0] + len(search))
        lines[found] = _shift(replacement, by=_margin(lines[found]) - _margin(search), number=number)
    return "\n".join(lines) + "\n" if lines else ""


def _shifted_places(lines: Sequence[str], search: Sequence[str]) -> list[int]:
    wanted, first, n = _dedented(search), search[0].strip(), len(search)
    starts = (i for i, line in enumerate(lines) if line.strip() == first)
    return [i for i in starts if _dedented(lines[i : i + n]) == wanted]


def _dedented(lines: Sequence[str]) -> str:
    return textwrap.dedent("\n".join(line.rstrip().expandtabs(4) for line in lines))


def _tidy(lines: Sequence[str]) -> list[str]:
    """Lines without blank ones at either end, indented with blanks instead of tabs."""
    widths = [(line, len(line) - len(line.lstrip())) for line in regions.without_blank_ends(lines)]
    return [line[:width].expandtabs(4) + line[width:] for line, width in widths]


def _margin(lines: Sequence[str]) -> int:
    filled = [line.expandtabs(4) for line in lines if line.strip()]
    return min(len(line) - len(line.lstrip(" ")) for line in filled)


def _shift(lines: list[str], *, by: int, number: int) -> list[str]:
    if by >= 0:
        return [" " * by + line if line.strip() else line for line in lines]
    if any(line.strip() and line[:-by].strip(" ") for line in lines):
        raise EditRefused(f"SEARCH block {number} is indented unlike the program: copy lines exactly as they stand")
    return [line[-by:] for line in lines]


def _no_match(lines: Sequence[str], search: Sequence[str], number: int) -> str:
    known = [line.strip() for line in lines]
    # The first quoted line that is not there is where the quotation went wrong.
    wrong = next((line.strip() for line in search if line.strip() not in known), "")
    if not wrong:
        return f"SEARCH block {number} matches nothing: copy consecutive lines in their order and indentation"
    close = difflib.get_close_matches(wrong[:200], [line[:200] for line in known if line], n=1)
    nearest = f"; the nearest is {close[0][:80]!r}" if close else ""
    return f"SEARCH block {number} matches nothing: {wrong[:80]!r} is no line of the program{nearest}"


def keep_protected(parent: str, child: str) -> str:
    """The child, if it changes nothing outside the parent's EVOLVE-BLOCK regions; see evaluators/admission/regions.py.

    Raises
    ------
    EditRefused
        If protected text or the number of regions differs.
    """
    try:
        return regions.keep(parent, child)
    except regions.BadRegions as error:
        raise EditRefused(str(error)) from None
