"""Replies by question, in the journal and in files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.cassette import Question, Recording, Replies, read_cassette, write_cassette
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.store import Store


def question(text: str, **parameters: object) -> Question:
    messages = [{"role": "system", "content": "the same for all"}, {"role": "user", "content": text}]
    return Question("m", {"temperature": None, **parameters}, messages)


def recording(program: int, text: str, reply: str = "yes", **fields: object) -> Recording:
    asked = question(text)
    return Recording(program, asked.key, asked, reply, **fields)


def test_model_parameters_and_messages_each_change_the_key():
    keys = {question("a").key, question("b").key, question("a", temperature=0.5).key}
    assert len(keys | {Question("other", question("a").parameters, question("a").messages).key}) == 4


def test_an_attempt_finds_its_own_reply_and_only_to_the_same_question():
    replies = Replies([recording(1, "a", "one"), recording(2, "a", "two")])
    assert replies.find(2, question("a")).text == "two"
    assert replies.find(2, question("b")) is None
    assert replies.find(3, question("a")) is None


def test_equal_questions_take_different_replies_oldest_first():
    replies = Replies([recording(1, "a", "one"), recording(2, "a", "two")])
    taken = [replies.take(number, question("a")) for number in (8, 9, 10)]
    assert [found and found.text for found in taken] == ["one", "two", None]


def test_the_journal_gives_recordings_back_and_keeps_equal_messages_once(tmp_path):
    kept = [recording(1, "a", "one", usage={"usd": 0.5}), recording(2, "b", "", error="no answer in time")]
    with Store.create(RunConfig.make(problem="shop/job_shop", out=tmp_path / "run"), {}) as store:
        with store.transaction():
            for one in kept:
                store.add_reply(one)
        assert store.replies() == kept
        assert all(one.key == one.question.key for one in store.replies())
    assert (tmp_path / "run" / "run.sqlite").read_bytes().count(b"the same for all") == 1


@given(st.text(), st.text(), st.text())
def test_a_cassette_reads_back_as_it_was_written(tmp_path_factory, asked, reply, error):
    path = tmp_path_factory.mktemp("tape") / "tape.jsonl"
    kept = [recording(4, asked, reply, error=error), recording(5, asked)]
    try:
        (asked + reply + error).encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text that a model can send
    assert write_cassette(path, {"seed": 3}, kept) == 2
    assert read_cassette(path) == ({"seed": 3}, kept)


def test_a_key_in_a_prompt_or_reply_does_not_reach_a_cassette(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-planted-0000")
    write_cassette(tmp_path / "tape", {}, [recording(1, "use sk-planted-0000", "I use sk-planted-0000")])
    assert "planted" not in (tmp_path / "tape").read_text()
    [found] = read_cassette(tmp_path / "tape")[1]
    assert found.key == question("use sk-planted-0000").key


@pytest.mark.parametrize("text", ["", "hello", "{}", '{"cassette": 99}', '{"cassette": 1, "settings": {}}\n{"a": 1}'])
def test_what_is_no_cassette_is_refused_by_name(tmp_path, text):
    (tmp_path / "tape").write_text(text)
    with pytest.raises(UserError, match="tape: not a"):
        read_cassette(tmp_path / "tape")
