"""What a run's journal promises: all or nothing, one writer, readers never wait, nothing lost."""

import math
import os
import sqlite3

import pytest

from evaluators.outcome import NonFinite, Ok, Rejected
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.program import Program
from evolve.store import Ask, Store, run_folders

OK = Ok(
    objectives={"gap": 14.0, "decision_time": 500.0},
    groups={"6x6": {"gap": 14.0, "decision_time": 500.0}},
    values={"gap": [13.0, float("nan"), 15.0]},
    raw={"makespan": [55.0, 60.0, 65.0]},
    fingerprint="ab12",
    cost={"run_s": 0.1},
)


@pytest.fixture
def store(tmp_path):
    config = RunConfig.make(problem="shop/job_shop", out=tmp_path / "run")
    with Store.create(config, {"numba": "1"}) as opened:
        yield opened


def test_programs_and_outcomes_come_back_as_they_were(store):
    program = Program(
        0, "def priority(op, shop):\n    return op.duration\n", "baseline", "spt", (), "SPT", "openai/gpt-5"
    )
    with store.transaction():
        store.add_program(program)
        store.add_outcome(0, "train", OK)
        store.add_tell(0)
    assert store.programs() == [program]
    back = store.outcomes("train")[0]
    assert back.objectives == OK.objectives
    assert back.raw == OK.raw
    assert back.fingerprint == "ab12"
    assert math.isnan(back.values["gap"][1])
    assert store.tells() == [0]


@pytest.mark.parametrize("failure", [Rejected("edit", "no code"), NonFinite("run", "NaN at operation 3")])
def test_failures_keep_kind_stage_and_reason(store, failure):
    store.add_program(Program(0, "", "llm"))
    store.add_outcome(0, "train", failure)
    assert store.outcomes("train")[0] == failure
    assert store.counts() == {failure.kind: 1}


def test_a_failing_transaction_leaves_nothing(store):
    with pytest.raises(RuntimeError), store.transaction():
        store.add_program(Program(0, "x = 1", "import"))
        raise RuntimeError
    assert store.programs() == []


def test_readers_see_a_run_while_it_is_written(store):
    store.add_program(Program(0, "x = 1", "import"))
    with store.transaction():
        store.add_program(Program(1, "x = 2", "import"))
        with Store(store.folder) as reader:
            assert [p.id for p in reader.programs()] == [0]


def test_a_second_writer_is_refused(store):
    with pytest.raises(UserError, match=f"another process \\(pid {os.getpid()}\\) is writing"):
        Store(store.folder, writable=True)


def test_the_lock_ends_with_its_holder(store):
    store.close()
    Store(store.folder, writable=True).close()


def test_an_existing_folder_is_never_overwritten(store):
    with pytest.raises(UserError, match="not empty"):
        Store.create(store.config, {})


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        Store(tmp_path)


def test_a_corrupt_file_is_one_clear_line(store):
    store.close()
    (store.folder / "run.sqlite").write_bytes(b"not a database" * 100)
    for suffix in ("-wal", "-shm"):
        (store.folder / f"run.sqlite{suffix}").unlink(missing_ok=True)
    with pytest.raises(UserError, match="cannot be read: file is not a database"):
        Store(store.folder)


def test_another_schema_is_refused_with_both_versions(store):
    store.close()
    with sqlite3.connect(store.folder / "run.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="schema 99"):
        Store(store.folder)


def test_an_unknown_id_names_the_known_range(store):
    store.add_program(Program(0, "x = 1", "import"))
    with pytest.raises(UserError, match="no program 7; ids are 0 to 0"):
        store.program(7)


def test_what_was_set_out_to_do_comes_back_with_the_model_that_was_named(store):
    asks = [Ask(3, "rewrite", (0, 1), (2,), 3, "openai/gpt-5"), Ask(4, "diff", (0,), (), 3)]
    with store.transaction():
        for ask in asks:
            store.add_ask(ask)
    assert store.asks() == {3: asks[0], 4: asks[1]}
    assert store.next_number() == 5


def test_a_request_under_way_is_booked_once(store):
    worst = {"model": "m", "input_tokens": 10, "output_tokens": 5, "usd": 0.5}
    with store.transaction():
        for number in (1, 2, 3):
            store.add_ask(Ask(number, "diff", (), (), 0))
            store.add_send(number, worst)
        store.drop_send(2)
    assert store.in_flight() == {"calls": 2, "input_tokens": 20, "output_tokens": 10, "usd": 1.0}
    for _ in range(2):
        with store.transaction():
            store.book_sends()
    assert store.in_flight()["calls"] == 0
    assert store.spend("operator")["diff"]["calls"] == 2
    assert store.spend()["m"]["usd"] == 1.0


def test_spend_adds_up_by_model_and_by_operator(store):
    counts = {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 4, "reasoning_tokens": 3}
    spend = {**counts, "usd": 0.5, "seconds": 1.0, "reply": "hi"}
    for number, (model, operator) in enumerate([("m", "diff"), ("m", "rewrite"), ("n", "diff")]):
        store.add_program(Program(number, "", "llm", operator))
        store.add_spend(number, {"model": model, **spend})
    once = {"calls": 1, **counts, "usd": 0.5, "seconds": 1.0}
    twice = {name: 2 * value for name, value in once.items()}
    assert store.spend() == {"m": twice, "n": once}
    assert store.spend("operator") == {"diff": twice, "rewrite": once}


def test_run_folders_lists_only_runs(store, tmp_path):
    (tmp_path / "other").mkdir()
    assert run_folders(tmp_path) == [store.folder]
