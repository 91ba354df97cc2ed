"""Programs: coding agents, research with parallel branches, text-to-SQL workflows, small assistants, and a mix.

Tool durations are log-normal by class; on an idle server tools are 56 to 74 % of a coding agent's latency, as
measured [1]_. Token lengths of agents are those of the workload ``coding-agents`` (docs/workloads.md), with
fewer turns and without its system prompt, which all programs would share. The SQL workflow is that of [2]_.

References
----------
.. [1] "AgentCgroup: understanding and controlling OS resources of AI agents" (2026).
.. [2] "HexGen-Text2SQL" (2025), statistics of the calls by step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems.serving._programs.data import Calls, make_calls, remaining
from problems.serving._server.requests import NONE
from problems.serving._workloads.sessions import between
from problems.serving._workloads.table import AGENT_ADDED, AGENT_OUTPUT, TEXT_TO_SQL

# Median and spread of the logarithm, seconds, by class of tool; class 0 is no tool.
TOOL_SECONDS = ((0.0, 0.0), (0.06, 0.6), (0.8, 1.0), (8.0, 0.9), (40.0, 0.8), (2.5, 0.8), (0.3, 1.0))
READ, SEARCH, TEST, BUILD, FETCH, QUERY = range(1, 7)
CODING_TOOLS = (READ, SEARCH, TEST, BUILD)
CODING_SHARES = (0.45, 0.2, 0.3, 0.05)
TURNS = (12.0, 0.55, 3, 40)  # median, spread, least, most
LONGEST_ADDED = 6000


class Errors(NamedTuple):
    """Standard deviations of the logarithms of predicted over true values."""

    output: float = 0.5
    tool: float = 0.8
    rest: float = 0.6  # of calls and tokens that remain; one error per program


class Draft:
    """Calls of programs while they are drawn."""

    def __init__(self, rng: np.random.Generator, longest_output: int) -> None:
        self.rng, self.longest_output = rng, longest_output
        self.rows: list[tuple[int, int, int, int, int, int, float]] = []
        self.edges: list[tuple[int, int]] = []

    def call(
        self,
        program: int,
        prompt: float,
        output: float,
        *,
        after: tuple[int, ...] = (),
        goes_on: int = NONE,
        tool: int = 0,
    ) -> int:
        """Add a call; where it goes on from another, ``prompt`` is what is added to that one's context."""
        length, repeated = max(1, round(prompt)), 0
        if goes_on != NONE:
            repeated = self.rows[goes_on][1] + self.rows[goes_on][2]
            length += repeated
        median, spread = TOOL_SECONDS[tool]
        seconds = median * float(np.exp(spread * self.rng.standard_normal()))
        output = min(max(1, round(output)), self.longest_output)
        self.rows.append((program, length, output, goes_on, repeated, tool, seconds))
        self.edges += [(before, len(self.rows) - 1) for before in after]
        return len(self.rows) - 1

    def context(self, call: int) -> int:
        """Prompt and output of a call."""
        return self.rows[call][1] + self.rows[call][2]

    def calls(self, tool_factor: float, errors: Errors) -> Calls:
        """All of them, with predictions; the same errors whatever their size."""
        program, prompt, output, goes_on, repeated, tool, seconds = map(np.array, zip(*self.rows, strict=True))
        n, tool_s = len(program), tool_factor * seconds
        noise, of_program = self.rng.standard_normal((2, n)), self.rng.standard_normal(int(program.max()) + 1)
        rest = np.exp(errors.rest * of_program[program])
        calls_left, tokens_left = remaining(program, output)
        return make_calls(
            self.edges,
            program=program,
            prompt_tokens=prompt,
            output_tokens=output,
            continues=goes_on,
            repeated_tokens=repeated,
            tool=tool,
            tool_s=tool_s,
            predicted_output=np.clip(output * np.exp(errors.output * noise[0]), 1.0, self.longest_output),
            predicted_tool_s=tool_s * np.exp(errors.tool * noise[1]),
            predicted_calls=np.maximum(calls_left * rest, 1.0),
            predicted_tokens=np.maximum(tokens_left * rest, 1.0),
        )


def coding_agent(draft: Draft, program: int, longest: int) -> None:
    """One chain: think, run a tool, read what it says, until the task is done or the context full."""
    rng = draft.rng
    median, spread, least, most = TURNS
    turns = int(np.clip(np.rint(median * np.exp(spread * rng.standard_normal())), least, most))
    tools = rng.choice(CODING_TOOLS, size=turns, p=CODING_SHARES)
    added = np.minimum(AGENT_ADDED.sample(turns, rng)[:, 0], LONGEST_ADDED)
    output = AGENT_OUTPUT.sample(turns, rng)[:, 0]
    last = draft.call(program, 3000.0 * np.exp(0.4 * rng.standard_normal()), output[0])
    for turn in range(1, turns):
        if draft.context(last) + added[turn] > longest:
            break
        last = draft.call(program, added[turn], output[turn], after=(last,), goes_on=last, tool=int(tools[turn]))


def research(draft: Draft, program: int, longest: int) -> None:
    """A plan, two to five branches that fetch and read, and a report that goes on from the plan."""
    rng = draft.rng
    plan = draft.call(
        program, 1500.0 * np.exp(0.3 * rng.standard_normal()), 300.0 * np.exp(0.4 * rng.standard_normal())
    )
    ends, read = [], 0.0
    for _ in range(int(rng.integers(2, 6))):
        last = draft.call(program, 800.0 * np.exp(0.3 * rng.standard_normal()), 120.0, after=(plan,))
        for _ in range(int(rng.integers(1, 5))):
            page, note = 2500.0 * np.exp(0.5 * rng.standard_normal()), 180.0 * np.exp(0.5 * rng.standard_normal())
            if draft.context(last) + page > longest:
                break
            last = draft.call(program, page, note, after=(last,), goes_on=last, tool=FETCH)
        ends.append(last)
        read += draft.rows[last][2]
    draft.call(program, 50.0 + read, 900.0 * np.exp(0.4 * rng.standard_normal()), after=(plan, *ends), goes_on=plan)


def text_to_sql(draft: Draft, program: int, longest: int) -> None:
    """Keywords, retrieval, candidates and their revisions, unit tests, evaluation: 11 to 28 calls."""
    rng = draft.rng

    def stage(step: int, after: list[tuple[int, ...]], tool: int = 0) -> list[int]:
        prompt, output = (between(q, len(after), rng) for q in (TEXT_TO_SQL[step][1], TEXT_TO_SQL[step][2]))
        calls = zip(np.minimum(prompt, longest), output, after, strict=True)
        return [draft.call(program, p, o, after=a, tool=tool) for p, o, a in calls]

    def number(step: int) -> int:
        return 1 + int(rng.poisson(max(TEXT_TO_SQL[step].calls_per_query - 1, 0)))

    keywords = stage(0, [()])
    found = stage(1, [tuple(keywords)] * number(1))
    candidates = stage(2, [tuple(found)] * min(number(2), 5))
    revised = list(candidates)
    for k in range(min(number(3), 8)):
        place = k % len(revised)
        revised[place] = stage(3, [(revised[place],)], QUERY)[0]
    tests = stage(4, [tuple(candidates)] * min(number(4), 3))
    pairs: list[tuple[int, ...]] = [
        (revised[k % len(revised)], tests[k % len(tests)]) for k in range(min(number(5), 10))
    ]
    judged = stage(5, pairs, QUERY)
    stage(6, [tuple(judged)] * min(number(6), 6))


def assistant(draft: Draft, program: int, longest: int) -> None:
    """One to four calls, with a quick look-up between them."""
    rng = draft.rng
    last = draft.call(program, 600.0 * np.exp(0.8 * rng.standard_normal()), 150.0 * np.exp(0.7 * rng.standard_normal()))
    for _ in range(int(rng.integers(0, 4))):
        page, answer = 300.0 * np.exp(0.8 * rng.standard_normal()), 150.0 * np.exp(0.7 * rng.standard_normal())
        last = draft.call(program, min(page, longest), answer, after=(last,), goes_on=last, tool=SEARCH)


def mixed(draft: Draft, program: int, longest: int) -> None:
    """Many small programs and some large ones: services differ by two orders of magnitude."""
    kind = draft.rng.choice(3, p=(0.6, 0.2, 0.2))
    (assistant, research, coding_agent)[kind](draft, program, longest)


KINDS = {"coding": coding_agent, "research": research, "sql": text_to_sql, "mixed": mixed}


def draw_programs(
    kind: str,
    count: int,
    rng: np.random.Generator,
    *,
    longest: int,
    longest_output: int = 1024,
    tool_factor: float = 1.0,
    errors: Errors | None = None,
) -> Calls:
    """Calls of so many programs of one of KINDS; no context is longer than about ``longest`` tokens."""
    draft = Draft(rng, longest_output)
    for program in range(count):
        KINDS[kind](draft, program, longest)
    return draft.calls(tool_factor, errors or Errors())
