"""A user's own templates and operators, and the command that shows a prompt."""

import json
import os
import re
import signal
import time

import pytest
from loopback import Loopback, say_by
from scripted import evolve, finish, model, search

from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.store import Store


def config(**settings):
    return RunConfig.make(problem="machine/total_tardiness", **settings)


def test_an_unknown_operator_is_named_with_the_closest():
    with pytest.raises(UserError, match="unknown operator 'rewrit'; did you mean 'rewrite'"):
        config(model=("openai/m",), operators=("rewrit",))


def test_operators_and_templates_are_for_models():
    with pytest.raises(UserError, match="the run does so by itself: write --repair"):
        config(model=("openai/m",), operators=("repair",))
    with pytest.raises(UserError, match="are for models"):
        config(operators=("rewrite",))


def test_a_template_of_another_name_would_not_be_used_and_is_refused(tmp_path):
    (tmp_path / "rewrit.md").write_text("x")
    with pytest.raises(UserError, match=r"rewrit\.md: no template of that name; those that can be replaced are"):
        config(model=("openai/m",), prompts=tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        config(model=("openai/m",), prompts=tmp_path / "none")


def test_a_run_keeps_its_templates_and_its_replay_uses_them(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "whole.md").write_text("Speak briefly, then: ```python ... ```")
    with model() as server:
        flags = ("--operator", "m1", "--operator", "e2", "--prompts", own, "--evaluations", 8, "--deterministic")
        assert finish(search(tmp_path / "run", server, *flags))[0] == 0
        prompts = [request.prompt for request in server.requests]
    assert prompts
    assert all("Speak briefly" in prompt for prompt in prompts)
    (own / "whole.md").unlink()
    with Store(tmp_path / "run") as store:
        assert {p.operator for p in store.programs() if p.origin == "llm"} <= {"m1", "e2"}
    assert finish(evolve("replay", tmp_path / "run", "--out", tmp_path / "again"))[0] == 0
    code, out, _ = finish(evolve("prompt", tmp_path / "run", "--operator", "m1", "--json"))
    shown = json.loads(out)
    assert code == 0
    assert [message["role"] for message in shown["messages"]] == ["system", "user"]
    assert "Speak briefly" in shown["messages"][1]["content"]
    assert shown["messages"][0]["content"] in "\n".join(prompts)


def test_the_first_prompt_of_a_problem_can_be_seen_without_a_run(tmp_path):
    code, out, _ = finish(evolve("prompt", "machine/total_tardiness", "--operator", "reflect"))
    assert code == 0
    assert "# Where it loses most" in out
    assert re.search(r"- instance \d+ of 460 \(n\d+\): ", out)
    assert str(tmp_path.home()) not in out


def test_also_of_a_problem_of_whole_programs():
    code, out, err = finish(evolve("prompt", "machine/total_tardiness_sequencing"))
    assert code == 0, err
    assert "Define `solve(instance) -> solution`" in out


def untimed(messages):
    """Without lines of decision times: they are measured."""
    return [[line for line in message["content"].splitlines() if " ns" not in line] for message in messages]


def test_it_is_exactly_what_is_sent(tmp_path):
    with Loopback(say_by(lambda request: "", delay_s=lambda request: 60.0)) as server:
        command = ["run", "machine/total_tardiness", "--model", "openai/scripted", "--api-base", server.url]
        process = evolve(*command, "--out", tmp_path / "run", OPENAI_API_KEY="sk-1234567")
        deadline = time.monotonic() + 60.0
        while len(server.requests) < 8 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        sent = [request.body["messages"] for request in server.requests]
    assert sent
    shown = [finish(evolve("prompt", target, "--json")) for target in (tmp_path / "run", "machine/total_tardiness")]
    assert [code for code, _, _ in shown] == [0, 0]
    of_run, of_problem = (json.loads(out)["messages"] for _, out, _ in shown)
    assert of_run in sent
    assert untimed(of_problem) == untimed(of_run)
