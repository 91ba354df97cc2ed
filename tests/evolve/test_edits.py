from __future__ import annotations

import difflib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evolve.edits import apply, keep_protected, replace_blocks
from evolve.proposers.proposer import EditRefused
from evolve.replies import Block, extract_program, find_thought, parse_blocks

SPT = """\
import math


def priority(op, shop):
    return op.duration
"""
LPT = SPT.replace("op.duration", "-op.duration")
HOOKS = ("priority",)


def fence(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}```\n"


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def refusal(parent: str, reply: str, hooks=HOOKS, **options) -> str:
    with pytest.raises(EditRefused) as caught:
        apply(parent, reply, hooks, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# whole programs


REPLIES = {
    "fenced": fence(LPT),
    "no language": fence(LPT, ""),
    "info string": fence(LPT, "py title=rule.py"),
    "prose": f"Longest first, since long ones block.\n\n{fence(LPT)}\nThis should help on large shops.",
    "unfenced": LPT,
    "unfenced in prose": f"Here is the program:\n\n{LPT}\nI hope this helps!\n",
    "tildes": f"~~~python\n{LPT}~~~",
    "in a list": f"1. The program:\n\n   ```python\n{''.join('   ' + line for line in LPT.splitlines(True))}   ```\n",
    "CRLF": fence(LPT).replace("\n", "\r\n"),
    "unclosed": f"```python\n{LPT}",
    "thinking": f"<think>Perhaps {fence(SPT)} no.</think>\n{fence(LPT)}",
    "end of thinking": f"Perhaps {fence(SPT)} no.</think>\n{fence(LPT)}",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_program_is_found_in_a_reply(reply):
    assert apply(SPT, reply, HOOKS) == LPT


def test_of_several_blocks_the_one_that_defines_the_hook_is_taken():
    helper = "def half(x):\n    return x / 2\n"
    assert apply(SPT, fence(LPT) + "Test it with:\n" + fence(helper), HOOKS) == LPT


def test_of_several_programs_the_last_whole_one_is_taken():
    broken = LPT.replace("return", "retrun x")
    assert apply(SPT, fence(SPT) + fence(LPT) + fence(broken), HOOKS) == LPT


def test_a_module_docstring_of_prose_lines_survives_without_a_fence():
    reply = f'"""Longest first.\n\nSee the notes on blocking.\n"""\n{LPT}'
    assert "See the notes" in apply(SPT, reply, HOOKS)


@pytest.mark.parametrize("reply", ["I cannot help with that.", "", "   \n", "x = 1", fence("x = 1\n")])
def test_a_reply_without_a_program_is_refused(reply):
    assert refusal(SPT, reply) == "no code in the reply"


def test_a_reply_that_was_cut_is_refused_but_not_if_its_code_had_ended():
    assert "was cut" in refusal(SPT, f"```python\n{LPT}", cut=True)
    assert "was cut" in refusal(SPT, LPT, cut=True)
    assert apply(SPT, fence(LPT) + "and now let me expl", HOOKS, cut=True) == LPT


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def priority(op, shop):\n    return op.\n", "the code in the reply does not parse: line 2"),
        ("def rank(op, shop):\n    return 1.0\n", "the code in the reply does not define the function priority"),
        ("def priority(op, shop):\n    return '\0'\n", "does not parse"),
        (f"def priority(op, shop):\n    return {'(' * 300}1{')' * 300}\n", "does not parse"),
    ],
    ids=["syntax", "hook", "null", "parentheses"],
)
def test_a_flawed_program_is_refused_with_a_sentence(code, sentence):
    assert sentence in refusal(SPT, fence(code))


@pytest.mark.parametrize(
    "reply",
    [
        fence(SPT),
        fence(SPT.replace("import math\n", "import math  # for later\n")),
        fence(SPT.replace("    return", '    """Shortest first."""\n    return')),
        block("    return op.duration\n", "    return (op.duration)\n"),
        block("    return op.duration\n", "    unread = -op.duration\n    return op.duration\n"),
    ],
    ids=["same", "comment", "docstring", "brackets", "dead code"],
)
def test_an_edit_that_changes_nothing_is_refused(reply):
    assert "changes nothing" in refusal(SPT, reply)


def test_a_runaway_reply_is_refused_unread():
    assert "characters" in refusal(SPT, "x" * 10_000_000)


# SEARCH/REPLACE


def test_a_block_replaces_the_lines_it_quotes():
    reply = "Longest first.\n" + fence(block("    return op.duration\n", "    return -op.duration\n"), "diff")
    assert apply(SPT, reply, HOOKS) == LPT


def test_blocks_apply_in_order_each_to_what_the_one_before_left():
    reply = block("import math\n", "A = 2.0\n") + block("A = 2.0\n", "A = 3.0\n")
    reply += block("    return op.duration\n", "    return A - op.duration\n")
    assert apply(SPT, reply).startswith("A = 3.0\n")


@pytest.mark.parametrize("indent", ["", "  ", "        ", "\t"], ids=["none", "two", "eight", "tab"])
def test_a_block_in_another_indentation_still_matches(indent):
    parent = "def priority(op, shop):\n    if op.duration > 1:\n        return 1.0\n    return 0.0\n"
    search, new = "if op.duration > 1:\n    return 1.0\n", "if op.duration > 2:\n    return 2.0\n"
    quoted, replacement = ("".join(indent + line for line in text.splitlines(True)) for text in (search, new))
    expected = parent.replace("> 1", "> 2").replace("1.0", "2.0")
    assert apply(parent, block(quoted, replacement)) == expected


def test_blanks_at_line_ends_and_around_a_block_do_not_matter():
    assert apply(SPT, block("\n    return op.duration   \n\n", "    return -op.duration\n"), HOOKS) == LPT


def test_an_exact_match_wins_over_a_shifted_one():
    parent = "def priority(op, shop):\n    a = 1.0\n    if a:\n        a = 1.0\n    return a\n"
    child = apply(parent, block("        a = 1.0\n", "        a = 2.0\n"))
    assert child == parent.replace("        a = 1.0", "        a = 2.0")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (
            block("    return 7\n", "    return 8\n"),
            "SEARCH block 1 matches nothing: 'return 7' is no line of the program",
        ),
        (block("    return op.duratoin\n", "    return 8\n"), "the nearest is 'return op.duration'"),
        (block("    return op.duration\nimport math\n", "\n"), "copy consecutive lines"),
        (block("", "x = 1\n"), "SEARCH block 1 is empty"),
        (block("import math\n", "") + block("import math\n", ""), "SEARCH block 2 matches nothing"),
        ("<<<<<<< SEARCH\nimport math\n", "SEARCH block 1 has no line '======='"),
        ("<<<<<<< SEARCH\nimport math\n=======\nx = 1\n", "SEARCH block 1 has no line '>>>>>>> REPLACE'"),
        ("<<<<<<< SEARCH\na\n=======\n" + block("import math\n", ""), "SEARCH block 1 has no line '>>>>>>> REPLACE'"),
        (block("    return op.duration\n", "    return (\n"), "does not parse: line"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_with_a_sentence(reply, sentence):
    assert sentence in refusal(SPT, reply)


def test_an_ambiguous_block_is_refused_with_its_places():
    parent = "def priority(op, shop):\n    a = 1.0\n    a = 1.0\n    return a\n"
    assert "matches 2 places (lines 2, 3)" in refusal(parent, block("    a = 1.0\n", "    a = 2.0\n"))
    # also where only the shifted match is ambiguous
    assert "matches 2 places" in refusal(parent, block("a = 1.0\n", "a = 2.0\n"))


def hunks(before: list[str], after: list[str]) -> list[Block]:
    """Blocks that turn one text into the other, each with enough context to be unique when its turn comes."""
    lines, blocks, moved = list(before), [], 0
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        start, stop = i + moved, j + moved
        new = after[k:m]
        low, high = start, stop
        while True:
            search = lines[low:high]
            places = [n for n in range(len(lines) - len(search) + 1) if lines[n : n + len(search)] == search]
            if any(line.strip() for line in search) and len(places) == 1:
                break
            if low == 0 and high == len(lines):
                return [Block(before, after)]
            low, high = max(low - 1, 0), min(high + 1, len(lines))
        blocks.append(Block(search, lines[low:start] + new + lines[stop:high]))
        lines[low:high] = blocks[-1].replace
        moved += len(new) - (j - i)
    return blocks


line = st.text("ab =:+()\t", max_size=5) | st.sampled_from(["def f(x):", "    return x", "", "é", "\x0c", "\u2028"])
text = st.lists(line, min_size=1, max_size=12)


@given(text, text)
def test_a_diff_made_from_two_texts_turns_the_first_into_the_second(before, after):
    assume(any(line.strip() for line in before))
    reply = "".join(
        block("".join(x + "\n" for x in b.search), "".join(x + "\n" for x in b.replace)) for b in hunks(before, after)
    )
    assume(before != after)
    blocks = parse_blocks("Some words.\n" + reply)
    assert replace_blocks("\n".join(before) + "\n", blocks) == "\n".join(after) + "\n"


@given(st.text(max_size=300))
def test_any_text_is_a_program_or_a_refusal(reply):
    try:
        child = apply(SPT, reply, HOOKS)
    except EditRefused:
        return
    compile(child, "child", "exec")


# protected text

PROTECTED = """\
import math

SCALE = 2.0
# EVOLVE-BLOCK-START the rule


def priority(op, shop):
    return op.duration
# EVOLVE-BLOCK-END


def helper(x):
    return x * SCALE
"""


def test_text_inside_the_region_may_change():
    child = apply(PROTECTED, block("    return op.duration\n", "    return -op.duration\n"), HOOKS)
    assert child == PROTECTED.replace("op.duration", "-op.duration")


def test_a_rewrite_keeps_protected_text_to_the_byte():
    reply = fence(
        "\n" + PROTECTED.replace("op.duration", "-op.duration").replace("2.0\n", "2.0   \n").rstrip() + "\n\n\n"
    )
    assert apply(PROTECTED, reply, HOOKS) == PROTECTED.replace("op.duration", "-op.duration")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (block("SCALE = 2.0\n", "SCALE = 3.0\n"), "'SCALE = 2.0'"),
        (block("    return x * SCALE\n", ""), "'    return x * SCALE'"),
        (block("import math\n", "import math\nX = 1.0\n"), "'X = 1.0'"),
        (fence(LPT), "keep the 1 pair(s)"),
        (block("# EVOLVE-BLOCK-END\n", ""), "has no '# EVOLVE-BLOCK-END'"),
        (block("# EVOLVE-BLOCK-END\n", "# EVOLVE-BLOCK-START\n# EVOLVE-BLOCK-END\n"), "must come in pairs"),
        (block("    return op.duration\n", "    return 1.0\n# EVOLVE-BLOCK-END\n# EVOLVE-BLOCK-START\n"), "keep the 1"),
    ],
)
def test_a_change_outside_the_region_is_refused(reply, sentence):
    assert sentence in refusal(PROTECTED, reply)


blank = st.lists(st.sampled_from(["a", "b", "", "  c"]), max_size=4)


@given(st.lists(blank, min_size=2, max_size=4), st.data())
def test_protected_text_never_changes(outside, data):
    """Whatever a diff does, the parts outside regions come out as they went in, or it is refused."""

    def assemble(parts, regions):
        lines = list(parts[0])
        for region, part in zip(regions, parts[1:], strict=True):
            lines += ["# EVOLVE-BLOCK-START", *region, "# EVOLVE-BLOCK-END", *part]
        return "\n".join(lines) + "\n"

    regions = [["x"]] * (len(outside) - 1)
    parent = assemble(outside, regions)
    changed = [data.draw(blank | st.just(part)) for part in outside]
    new_regions = [data.draw(blank) for _ in regions]
    try:
        child = keep_protected(parent, assemble(changed, new_regions))
    except EditRefused:
        assert changed != outside
        return
    assert child == assemble(outside, new_regions)


# thoughts


def test_the_thought_is_the_first_two_sentences_before_the_code():
    reply = f"## Plan\n**Thought:** Long jobs block. So start them first, e.g. by duration. Then rest.\n\n{fence(LPT)}"
    assert find_thought(reply) == "Long jobs block. So start them first, e.g. by duration."
    assert find_thought(block("a\n", "b\n")) == ""
    assert find_thought(LPT) == ""
    assert len(find_thought("word " * 500)) <= 300
    assert extract_program(reply, HOOKS) == LPT


def test_a_mended_program_may_lose_dead_code_that_kept_it_from_running():
    flawed = "def priority(job, machine):\n    pair = (0.0, 1.0) + 1.0\n    return job.duration\n"
    reply = "```python\ndef priority(job, machine):\n    return job.duration\n```"
    with pytest.raises(EditRefused, match="changes nothing"):
        apply(flawed, reply, ["priority"])
    assert "pair" not in apply(flawed, reply, ["priority"], mends=True)
    with pytest.raises(EditRefused, match="changes nothing"):
        apply(flawed, f"```python\n{flawed}```", ["priority"], mends=True)
