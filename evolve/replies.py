"""What a model's reply holds: whole programs, SEARCH/REPLACE blocks, and the idea in words.

Programs stand in fences or bare between prose. A block reads

    <<<<<<< SEARCH
    lines as they stand in the program
    =======
    the lines to put in their place
    >>>>>>> REPLACE

What cannot be read is an EditRefused with one sentence that the model can act on.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evolve.proposers.proposer import EditRefused

# Far beyond any admitted program; keeps a runaway reply from costing minutes of matching.
MAX_REPLY_CHARACTERS = 200_000

_SEARCH = re.compile(r"\s*<{5,9} ?SEARCH\s*")
_SEPARATOR = re.compile(r"\s*={5,9}\s*")
_REPLACE = re.compile(r"\s*>{5,9} ?REPLACE\s*")
_FENCE = re.compile(r"( *)(`{3,}|~{3,})([^`]*)")
# Reasoning that some open models print before their answer; the code in it is not the answer.
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_STATEMENT = re.compile(r"def |import \w|from [\w.]+ import |[A-Za-z_]\w*\s*(?::\s*\w+\s*)?=[^=]")
# What a line of a module looks like, as opposed to prose at the margin.
_CODE_LINE = re.compile(rf"\s|\Z|#|[)\]}}]|\"\"\"|'''|{_STATEMENT.pattern}")


class Block(NamedTuple):
    """One SEARCH/REPLACE block, as lines without their ends."""

    search: list[str]
    replace: list[str]


def answer(reply: str) -> str:
    """The reply without reasoning, with lines that end in a line feed."""
    if len(reply) > MAX_REPLY_CHARACTERS:
        raise EditRefused(f"the reply has {len(reply):,} characters: at most {MAX_REPLY_CHARACTERS:,} are read")
    text = _THINKING.sub("", reply.replace("\r\n", "\n"))
    # Some servers swallow the opening tag.
    return text.rpartition("</think>")[2]


def find_thought(reply: str, limit: int = 300) -> str:
    """The idea in words: the first two sentences before any code, at most limit characters."""
    words: list[str] = []
    for line in answer(reply).split("\n"):
        if _FENCE.fullmatch(line) or _SEARCH.fullmatch(line) or _STATEMENT.match(line):
            break
        if line.strip() and not line.startswith("#"):
            words.append(line.strip())
    text = re.sub(r"[*_`]{2,}|`", "", " ".join(words))
    text = re.sub(r"\A(?:thought|idea)\s*:\s*", "", text, flags=re.IGNORECASE)
    text = " ".join(re.split(r"(?<=[.!?])\s+(?=[A-Z])", text)[:2])
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# whole programs


def extract_program(reply: str, hooks: Sequence[str] = (), *, cut: bool = False) -> str:
    """The last program of a reply that parses and defines every hook, ending in one line feed.

    Fenced blocks are looked at; where there are none, runs of lines that look like a module.

    Raises
    ------
    EditRefused
        If there is none.
    """
    fenced = list(_fenced(reply))
    # A model that forgets the closing fence ends its reply with the program, unless it was cut.
    texts = [text for text, closed in fenced if closed or not cut]
    if cut and not texts:
        raise EditRefused("the reply was cut before its code ended: answer more briefly")
    if not fenced:
        texts = list(_bare_runs(reply))
    if not texts or not any("def " in text for text in texts):
        raise EditRefused("no code in the reply")
    flaws = [_flaw(text, hooks) for text in texts]
    whole = [text for text, flaw in zip(texts, flaws, strict=True) if not flaw]
    if not whole:
        raise EditRefused(f"the code in the reply {flaws[-1]}")
    return whole[-1].strip("\n") + "\n"


def _fenced(reply: str) -> Iterator[tuple[str, bool]]:
    """Each fenced text that is not blank, and whether its closing fence is there."""
    opening: re.Match[str] | None = None
    body: list[str] = []
    for line in [*reply.split("\n"), None]:
        fence = None if line is None else _FENCE.fullmatch(line)
        if opening is None:
            opening, body = fence, []
            continue
        closed = fence is not None and fence[2].startswith(opening[2]) and not fence[3].strip()
        if line is not None and not closed:
            body.append(line)
            continue
        # A fence inside a list is indented, and its lines with it.
        text = textwrap.dedent("\n".join(body))
        if text.strip():
            yield text, closed
        opening = None


def _bare_runs(reply: str) -> Iterator[str]:
    """Runs of lines that look like a module with a function; the whole reply if it is one."""
    if not syntax_error(reply):
        yield reply
        return
    run: list[str] = []
    for line in [*reply.split("\n"), None]:
        if line is not None and _CODE_LINE.match(line):
            run.append(line)
            continue
        start = next((i for i, code in enumerate(run) if _STATEMENT.match(code)), len(run))
        text = "\n".join(run[start:])
        if re.search(r"^def \w+\(", text, re.MULTILINE):
            yield text
        run = []


def _flaw(text: str, hooks: Sequence[str]) -> str:
    """Why a text is no program that defines the hooks, or an empty string."""
    flaw = syntax_error(text)
    if flaw:
        return f"does not parse: {flaw}"
    defined = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    missing = [hook for hook in hooks if hook not in defined]
    return f"does not define the function {missing[0]}" if missing else ""


# SEARCH/REPLACE


def parse_blocks(reply: str) -> list[Block]:
    """The SEARCH/REPLACE blocks of a reply, in order; an empty list if there are none.

    Raises
    ------
    EditRefused
        If a block lacks its separator or its end.
    """
    blocks: list[Block] = []
    lacking = ""  # the line that ends the part we are in
    for line in [*reply.split("\n"), None]:
        if lacking and (line is None or _SEARCH.fullmatch(line)):
            raise EditRefused(f"SEARCH block {len(blocks)} has no line {lacking!r}: write every block in full")
        if line is None:
            break
        if _SEARCH.fullmatch(line):
            blocks.append(Block([], []))
            lacking = "======="
        elif lacking == "=======":
            if _SEPARATOR.fullmatch(line):
                lacking = ">>>>>>> REPLACE"
            else:
                blocks[-1].search.append(line)
        elif lacking:
            if _REPLACE.fullmatch(line):
                lacking = ""
            else:
                blocks[-1].replace.append(line)
    return blocks


def syntax_error(source: str) -> str:
    """Why source does not parse, in one line, or an empty string."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""
