"""All prompts of a whole run: one stable prefix, bounded, and nothing that must not leave the machine."""

import re

import numpy as np
import pytest
from loopback import Loopback, say_by
from scripted import finish, improve, search

from evolve.operators import OPERATORS, REPAIR
from evolve.prompt import operators
from evolve.store import Store

KEY = "sk-1234567"  # that scripted.search plants
# Numbers that only one split has: train 7013, valid 7027, test 7039
PLANTED = {"train": 7013, "valid": 7027, "test": 7039}


def own(folder):
    """Instances whose due dates tell the split they are from, and are not to be reached in time."""
    flags, rng = [], np.random.default_rng(5)
    for split, number in PLANTED.items():
        (folder / split).mkdir(parents=True)
        for k in range(3):
            rows = [f"{p},{d}" for p, d in zip(rng.integers(1, 30, 9), rng.integers(5, 120, 9), strict=True)]
            (folder / split / f"{split}-{k}.csv").write_text("\n".join([*rows, f"{number},{number}"]) + "\n")
        flags += [f"--{split}", str(folder / split)]
    return flags


def reply(request):
    """Programs, one in four of them with a line that is not admitted."""
    text = improve(request)
    flawed = len(request.prompt) % 4 == 0 and "# The program to repair" not in request.prompt
    return text.replace("machine):\n", "machine):\n    seen = [0.0]\n") if flawed else text


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What was sent, and the run: every operator in turn by the strategy that draws evenly at first."""
    root = tmp_path_factory.mktemp("secret-folder")
    flags = [part for name in operators() for part in ("--operator", name)]
    flags += ["--strategy", "portfolio", "--evaluations", 45, "--seed", 2, *own(root / "own")]
    with Loopback(say_by(reply)) as server:
        code, _, err = finish(search(root / "run", server, *flags))
        assert code == 0, err
        return [request.body["messages"] for request in server.requests], root / "run"


def test_every_prompt_begins_with_the_same_system_message(asked):
    messages, _ = asked
    assert len({m[0]["content"] for m in messages}) == 1
    assert {tuple(part["role"] for part in m) for m in messages} == {("system", "user")}


def test_prompts_hold_no_key_no_path_and_nothing_of_valid_or_test(asked):
    messages, folder = asked
    for text in {part["content"] for m in messages for part in m}:
        assert KEY not in text
        assert str(folder.parent) not in text
        assert "secret-folder" not in text
        assert not re.search(r"(?<![\w/])/(home|tmp|root|work)/", text)
        for split in ("valid", "test"):
            assert str(PLANTED[split]) not in text
            assert f"{split}-0" not in text


def test_prompts_are_bounded_and_tell_of_the_run(asked):
    messages, folder = asked
    with Store(folder) as store:
        asks = store.asks()
    users = [m[1]["content"] for m in messages]
    assert max(map(len, users)) < 16_000
    assert {ask.operator for ask in asks.values()} <= set(OPERATORS)
    assert REPAIR in {ask.operator for ask in asks.values()}
    for said in ("# Insights so far", "# Where it loses most", "The program: total tardiness", "They part with"):
        assert any(said in user for user in users), said
