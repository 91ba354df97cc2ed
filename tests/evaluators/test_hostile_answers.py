"""What a worker under an attacker's control says to the trusted process is not believed."""

from __future__ import annotations

import pytest
from conftest import Driver, needs_sandbox

from evaluators.outcome import Ok
from evaluators.processes import launch

pytestmark = needs_sandbox

# A worker under an attacker's control may write any bytes to its parent.
FORGED = {
    "noise": ("bytes(range(256))", "crashed", "neither"),
    "nothing but a kind": ("b'S'", "crashed", "ends too early"),
    "too few solutions": ("wire.encode_answer(wire.Answer([], [], '', 0, 0, 0), bytes(32))", "crashed", "0 solutions"),
    "a pickle": ("__import__('pickle').dumps(print)", "crashed", "neither"),
    "unknown failure": ("b'F\\xff\\x00hello'", "crashed", "no known kind"),
    "long reason": ("b'F\\x01\\x01' + b'x' * 5000", "crashed", "no known kind"),
    "not a number of seconds": (
        "wire.encode_answer(wire.Answer(solutions, [1] * 6, '', float('nan'), 0, 0), bytes(32))",
        "crashed",
        "times are not finite",
    ),
    "wrong dtype": (
        "wire.encode_answer(wire.Answer([(s[0].astype('i4'),) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "crashed",
        "not float64 with 1 dimensions",
    ),
    "wrong shape": (
        "wire.encode_answer(wire.Answer([(s[0][:-1],) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "infeasible",
        "must have shape",
    ),
    "trailing bytes": (
        "wire.encode_answer(wire.Answer(solutions, [1] * 6, '', 0, 0, 0), bytes(32)) + b'!'",
        "crashed",
        "follow the last",
    ),
    "impossible schedule": (
        "wire.encode_answer(wire.Answer([(s[0] * 0.5,) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "infeasible",
        "instance 5-0",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_answers_are_not_believed(raw: Driver, name: str):
    expression, kind, reason = FORGED[name]
    outcome = raw.evaluate(
        "import os, numpy as np\n"
        "solutions = [(np.cumsum(case.data.duration),) for case in prepared.splits['train']]\n"
        f"data = {expression}\n"
        "while data: data = data[os.write(3, data):]\n"
        "os._exit(0)"
    )
    assert (outcome.kind, reason in outcome.reason) == (kind, True), outcome


def test_an_honest_answer_from_a_hostile_process_is_only_as_good_as_its_schedule(raw: Driver):
    outcome = raw.evaluate(
        "import os, numpy as np\n"
        "solutions = [(np.cumsum(case.data.duration),) for case in prepared.splits['train']]\n"
        "os.write(3, wire.encode_answer(wire.Answer(solutions, [1] * 6, '', 0, 0, 0), bytes(32)))\n"
        "os._exit(0)"
    )
    assert isinstance(outcome, Ok)
    assert outcome.objectives["gap"] > 0


def test_control_characters_in_a_reason_do_not_reach_the_terminal(raw: Driver):
    outcome = raw.evaluate("raise ValueError('\\x1b[2J\\x07owned')")
    assert outcome.reason.isprintable()


def test_a_worker_sees_only_the_variables_that_pass(raw: Driver):
    outcome = raw.evaluate("import os\nfound['said'] = ' '.join(sorted(os.environ))")
    passed = set(outcome.reason.removeprefix("survived: ").split())
    assert not any("KEY" in name or "TOKEN" in name for name in passed)
    assert passed == set(launch.environment())


def test_a_worker_holds_four_descriptors(raw: Driver):
    outcome = raw.evaluate(
        "import os\n"
        "def is_open(fd):\n"
        "    try: os.read(fd, 0)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "found['said'] = [fd for fd in range(1000) if is_open(fd)]"
    )
    assert outcome.reason == "survived: [0, 1, 2, 3]"
