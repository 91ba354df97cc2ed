"""Replies of models, kept under the hash of what was asked, and as a text file to share.

A cassette is a file of JSON lines: the first holds the settings of the run it was taken from, each
other one question (model, parameters, messages) with its reply. Values of environment variables that
are named like keys are cut out of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evolve.errors import UserError

_FORMAT = 1


@dataclass(frozen=True)
class Question:
    """All that a model's reply depends on, as far as its caller decides."""

    model: str
    parameters: Mapping[str, Any]  # temperature, max_output_tokens, ...
    messages: Sequence[Mapping[str, str]]

    @property
    def key(self) -> str:
        """Hash of model, parameters and messages."""
        body = [self.model, dict(self.parameters), [dict(message) for message in self.messages]]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    @property
    def text(self) -> str:
        """The question as people read it, to compare two."""
        settings = ", ".join(f"{name} {value}" for name, value in sorted(self.parameters.items()))
        parts = [f"[{message['role']}]\n{message['content']}" for message in self.messages]
        return "\n".join([f"model {self.model}, {settings}", *parts])


@dataclass(frozen=True)
class Recording:
    """One question, who asked, and what came back; ``error`` says why nothing did."""

    program: int  # the attempt that asked
    key: str
    question: Question
    text: str
    finish: str = ""
    error: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)  # input_tokens, output_tokens, usd, seconds


class Replies:
    """Recordings by question; every new one is kept before anything else can happen to it."""

    # Whether what a reply cost is journalled together with it.
    journals = False

    def __init__(self, recordings: Iterable[Recording] = ()) -> None:
        self._by_program: dict[int, Recording] = {}
        self._by_key: dict[str, list[Recording]] = {}
        for recording in recordings:
            self._add(recording)

    def find(self, program: int, question: Question) -> Recording | None:
        """What the same attempt heard on the same question, if it asked before."""
        recording = self._by_program.get(program)
        return recording if recording is not None and recording.key == question.key else None

    def take(self, program: int, question: Question) -> Recording | None:
        """Like find, else the oldest recording of the question that no attempt took."""
        found = self.find(program, question)
        if found is None:
            found = next(iter(self._by_key.get(question.key, [])), None)
        if found is not None:
            self._by_key[found.key].remove(found)
        return found

    def nearest(self, program: int) -> Recording | None:
        """What an attempt of that number asked, whatever it was."""
        return self._by_program.get(program)

    def send(self, program: int, worst: Mapping[str, Any]) -> None:
        """A request of an attempt is about to be sent and may cost so much; ``{}`` if it cost nothing."""

    def lose(self, program: int, spend: Mapping[str, Any] | None = None) -> None:
        """A request brought nothing to keep, and cost so much; without ``spend`` its worst case."""

    def keep(self, recording: Recording, spend: Mapping[str, Any]) -> None:
        """Remember a recording and what it cost."""
        self._add(recording)

    def _add(self, recording: Recording) -> None:
        if recording.program < 0:  # asked outside a run: there is no attempt to repeat
            return
        self._by_program[recording.program] = recording
        self._by_key.setdefault(recording.key, []).append(recording)


def write_cassette(path: Path, settings: Mapping[str, Any], recordings: Iterable[Recording]) -> int:
    """Write a cassette; returns the number of replies in it."""
    # llm.py is the door to the network libraries; what reads a cassette need not pass it
    from evolve.keys import redact

    lines = [json.dumps({"cassette": _FORMAT, "settings": dict(settings)})]
    lines += [json.dumps(asdict(recording), ensure_ascii=False) for recording in recordings]
    try:
        path.write_text("".join(redact(line) + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return len(lines) - 1


def read_cassette(path: Path) -> tuple[dict[str, Any], list[Recording]]:
    """The settings and recordings of a cassette.

    Raises
    ------
    UserError
        If the file cannot be read or is no cassette.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        header = json.loads(lines[0]) if lines[0].startswith("{") else {}
        if not isinstance(header, dict) or header.get("cassette") != _FORMAT:
            raise UserError(f"{path}: not a cassette; make one: evolve cassette RUN -o FILE")
        recordings = []
        for line in lines[1:]:
            fields = json.loads(line)
            recordings.append(Recording(**{**fields, "question": Question(**fields["question"])}))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a line of a cassette: {error}") from None
    return header["settings"], recordings
