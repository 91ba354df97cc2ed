"""A synthetic model: a stand-in for a language model, with a skill that can be set.

It reads the programs out of a prompt, changes them by the operators of genetic programming, and
answers in the form that was asked for: mostly with a program, at times with prose, a broken program
or the parent itself. It is served over HTTP like any OpenAI-compatible model, so a whole run can be
exercised, and strategies compared, with no key and no cost. Like a model at a temperature above zero
it answers a prompt that is put again anew; the k-th answer to a prompt is always the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np

from evaluators.outcome import Rejected
from evolve.program import Candidate, Program
from evolve.proposers.genetic import GeneticProposer
from evolve.proposers.proposer import EditRefused
from evolve.strategies.strategy import Proposal
from problems.problem import Problem

MODEL = "openai/synthetic"
# Lists are not admitted, and a pair has no sum with a number.
_FLAWS = ("    seen = [0.0]\n", "    offset = (0.0, 1.0) + 1.0\n")
_FENCED = re.compile(r"^(`{3,})python\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Skill:
    """What becomes of an answer; shares are of all answers."""

    prose: float = 0.03  # no program at all
    broken: float = 0.07  # a program that does not parse
    repeats: float = 0.05  # the parent, in other words
    flawed: float = 0.0  # a new program with a line that is not admitted or does not compile
    mends: float = 0.8  # share of such lines that it removes when it is asked to
    steps: int = 2  # changes made to a parent, at most: more drift further away
    crosses: float = 0.3  # share of answers that take from another program of the prompt, where there is one

    def __post_init__(self) -> None:
        shares = (self.prose, self.broken, self.repeats, self.flawed, self.crosses, self.mends)
        if not all(0.0 <= share <= 1.0 for share in shares) or sum(shares[:4]) > 1.0 or self.steps < 1:
            raise ValueError(f"shares must lie in [0, 1], those that fail sum to at most 1, steps >= 1; got {self}")


class SyntheticModel:
    """Answers prompts about one problem; a function of seed, prompt and how often that was asked before."""

    def __init__(self, problem: Problem, skill: Skill = Skill(), seed: int = 0) -> None:
        self._genetic = GeneticProposer(problem, max_size=60)
        self._skill = skill
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, messages: Sequence[dict[str, str]]) -> str:
        """The reply to a prompt of ``evolve/prompt.py``."""
        text = json.dumps([self._seed, *messages], sort_keys=True)
        with self._lock:
            before = self._asked[text]
            self._asked[text] += 1
        rng = np.random.default_rng([before, *hashlib.sha256(text.encode()).digest()])
        sources = [match[2] + "\n" for match in _FENCED.finditer(messages[-1]["content"])]
        turn = rng.random()
        if not sources or turn < self._skill.prose:
            return "There are many ways to improve such a rule, and each depends on the instances."
        turn -= self._skill.prose
        if turn < self._skill.broken:
            return _said("Guard the division.", sources[0].replace("return ", "return 1.0 / (", 1))
        if turn < self._skill.broken + self._skill.repeats:
            return _said("Keep what works.", f"# tidied\n{sources[0]}")
        flaw = _flaw_in(sources[0])
        if flaw and rng.random() < self._skill.mends:
            return _said("The line was not needed.", sources[0].replace(flaw, "", 1))
        thought, child = self._child([sources[0].replace(flaw, "", 1) if flaw else sources[0], *sources[1:]], rng)
        if turn < self._skill.broken + self._skill.repeats + self._skill.flawed or flaw:
            child = _flawed(child, rng)
        return _said(thought, child)

    def _child(self, sources: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
        crosses = len(sources) > 1 and rng.random() < self._skill.crosses
        source, thoughts = sources[0], []
        for step in range(int(rng.integers(1, self._skill.steps + 1))):
            pair = [source, sources[int(rng.integers(1, len(sources)))]] if crosses and step == 0 else [source]
            parents = tuple(Candidate(Program(k, text, "prompt"), Rejected("", "")) for k, text in enumerate(pair))
            proposal = Proposal("crossover" if len(pair) > 1 else "mutate", parents)
            try:
                draft = asyncio.run(self._genetic.propose(proposal, rng))
            except EditRefused:
                break
            source = draft.source
            thoughts.append(draft.thought)
        return "; ".join(thoughts) or "Keep what works.", source


def _flaw_in(source: str) -> str:
    """The line that a flawed program has too many, or nothing."""
    return next((flaw for flaw in _FLAWS if flaw in source), "")


def _flawed(source: str, rng: np.random.Generator) -> str:
    """A program with a line too many at the head of its first function."""
    head, colon, body = source.partition("):\n")
    return head + colon + _FLAWS[int(rng.integers(len(_FLAWS)))] + body


def _said(thought: str, source: str) -> str:
    return f"{thought}\n\n```python\n{source}```\n"


class SyntheticServer:
    """An OpenAI-compatible server of one synthetic model on the loopback address, in a thread.

    Use as a context manager; ``url`` is what ``--api-base`` takes. Port 0 stands for any that is free.
    """

    def __init__(self, model: SyntheticModel, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.model = model
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Base of the API."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: SyntheticModel


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = self.server.model.answer(request["messages"])
        body = json.dumps(_completion(request, text)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a run's own display is on the screen."""


def _completion(request: dict[str, Any], text: str) -> dict[str, Any]:
    # about four characters a token, as English and code have it
    used = {
        "prompt_tokens": sum(len(m["content"]) for m in request["messages"]) // 4,
        "completion_tokens": len(text) // 4,
    }
    return {
        "id": "synthetic",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {**used, "total_tokens": sum(used.values())},
    }
