"""The mailbox: prompts and replies as files, several open at once, in any order, across sessions."""

import os
import threading
import time

import pytest
from scripted import REWRITE, instances

import evolve
from evolve import session
from evolve.proposers import mailbox
from evolve.store import Store


class Person(threading.Thread):
    """Answers prompts as they appear, newest first, at most ``answers`` of them."""

    def __init__(self, folder, answers: int = 1000, offset: int = 0) -> None:
        super().__init__(daemon=True)
        self.folder, self.left, self.offset = folder, answers, offset
        self.seen: list[str] = []
        self.most_open = 0
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.05):
            prompts = sorted(self.folder.glob("[0-9]*-prompt.md"), reverse=True)
            unanswered = [p for p in prompts if not self._reply(p).exists()]
            self.most_open = max(self.most_open, len(unanswered))
            for path in unanswered[: min(2, self.left)]:
                self.left -= 1
                self.seen.append(path.read_text())
                number = int(path.name[:4]) + self.offset
                half = path.with_name(f"{path.name[:4]}-reply.tmp")
                half.write_text(REWRITE.format(0.5 + number / 7, 1.5))
                os.replace(half, self._reply(path))

    def _reply(self, prompt):
        return prompt.with_name(prompt.name.replace("prompt", "reply"))


@pytest.fixture
def settings(tmp_path):
    flags = instances(tmp_path / "instances")
    own = {flag.removeprefix("--"): path for flag, path in zip(flags[::2], flags[1::2], strict=True)}
    return {"problem": "machine/total_tardiness", "proposer": "mailbox", "out": tmp_path / "run", **own}


def test_replies_put_into_the_folder_become_programs_and_replay_to_the_same_hash(settings, capsys):
    person = Person(settings["out"] / "mailbox")
    folder = evolve.run(**settings, evaluations=5)
    person.done.set()
    assert person.most_open > 1
    assert "total tardiness" in person.seen[0].lower()
    assert capsys.readouterr().out.count("NNNN-reply.md") > 0
    with Store(folder) as store:
        assert sum(p.origin == "mailbox" for p in store.programs()) >= 5
        found = store.archive_hash()
    again = session.replay(folder)
    with Store(again) as store:
        assert store.archive_hash() == found


def test_a_stopped_mailbox_resumes_with_its_open_prompts(settings):
    box = settings["out"] / "mailbox"
    # two answers of three that are needed: the run waits until its time is over
    person = Person(box, answers=2)
    folder = evolve.run(**settings, evaluations=3, max_seconds=8.0)
    person.done.set()
    before = {path.name: path.read_text() for path in box.glob("[0-9]*-prompt.md")}
    with Store(folder) as store:
        assert store.meta("status") == "seconds spent"
        told = store.tells()
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace("max_seconds = 8.0", "max_seconds = 600.0"))
    person = Person(box, offset=50)
    session.resume(folder)
    person.done.set()
    with Store(folder) as store:
        assert store.meta("status") == "finished"
        assert store.tells()[: len(told)] == told
    for name, prompt in before.items():
        assert (box / name).read_text() == prompt


def test_a_reply_that_is_still_being_written_is_not_taken(settings):
    box = settings["out"] / "mailbox"

    def slow_hand() -> None:
        while not (prompts := sorted(box.glob("[0-9]*-prompt.md"))):
            time.sleep(0.05)
        text = REWRITE.format(1.25, 1.5)
        with prompts[0].with_name(f"{prompts[0].name[:4]}-reply.md").open("w") as file:
            for k in range(0, len(text), 20):
                file.write(text[k : k + 20])
                file.flush()
                time.sleep(mailbox.LOOK_EVERY_S / 3)

    threading.Thread(target=slow_hand, daemon=True).start()
    folder = evolve.run(**settings, evaluations=1)
    with Store(folder) as store:
        assert [p.source for p in store.programs() if p.origin == "mailbox" and "1.25" in p.source]
