from __future__ import annotations

import asyncio
import contextlib
import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.budget import Budget, BudgetExhausted, BudgetLimits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"evaluations": -1}, "evaluations"),
        ({"usd": -0.01}, "usd"),
        ({"usd": math.nan}, "usd"),
        ({"seconds": math.nan}, "seconds"),
        ({"tokens": math.inf}, "tokens"),
        ({"llm_calls": 1.5}, "llm_calls"),
    ],
)
def test_a_bad_limit_is_refused_by_name(limits, named):
    with pytest.raises(ValueError, match=named):
        BudgetLimits(**limits)


def test_reserved_amounts_count_until_they_are_settled():
    budget = Budget(BudgetLimits(tokens=100))
    first = budget.reserve(tokens=80)
    with pytest.raises(BudgetExhausted):
        budget.reserve(tokens=21)
    first.settle(tokens=10)
    assert budget.spent()["tokens"] == 10
    assert budget.reserved()["tokens"] == 0
    budget.reserve(tokens=90)
    assert budget.remaining()["tokens"] == 0


def test_a_refusal_names_resource_limit_and_spent():
    budget = Budget(BudgetLimits(evaluations=3, usd=1.0))
    budget.reserve(evaluations=2).settle()
    with pytest.raises(BudgetExhausted, match=r"2 of 3 evaluations spent.*next may need 2") as caught:
        budget.reserve(evaluations=2, usd=0.5)
    assert (caught.value.resource, caught.value.temporary) == ("evaluations", False)
    # nothing of a refused reservation is kept
    assert budget.reserved()["usd"] == 0


def test_a_refusal_is_temporary_while_reserved_amounts_stand_in_the_way():
    budget = Budget(BudgetLimits(tokens=100, usd=1.0))
    budget.reserve(tokens=80, usd=0.5)
    with pytest.raises(BudgetExhausted) as caught:
        budget.reserve(tokens=80)
    assert caught.value.temporary
    # a final refusal of one resource outranks a temporary one of another
    with pytest.raises(BudgetExhausted) as caught:
        budget.reserve(tokens=80, usd=1.5)
    assert (caught.value.resource, caught.value.temporary) == ("usd", False)


def test_a_block_that_raises_gives_back_and_one_that_ends_spends_what_it_reserved():
    budget = Budget(BudgetLimits(evaluations=10))
    with pytest.raises(KeyError), budget.reserve(evaluations=4):
        raise KeyError
    assert budget.spent()["evaluations"] == 0
    with budget.reserve(evaluations=4):
        pass
    with budget.reserve(evaluations=4) as reservation:
        reservation.settle(evaluations=1)
    assert budget.spent()["evaluations"] == 5


def test_settling_twice_is_an_error():
    reservation = Budget().reserve(tokens=5)
    reservation.settle(tokens=5)
    with pytest.raises(RuntimeError):
        reservation.settle(tokens=5)
    with pytest.raises(RuntimeError):
        reservation.release()


def test_what_is_not_named_settles_as_reserved_and_foreign_resources_are_refused():
    budget = Budget()
    reservation = budget.reserve(tokens=100, usd=0.25)
    with pytest.raises(ValueError, match="evaluations was not reserved"):
        reservation.settle(evaluations=1)
    reservation.settle(tokens=40)
    assert (budget.spent()["tokens"], budget.spent()["usd"]) == (40, 0.25)


@pytest.mark.parametrize(
    "amounts", [{"tokens": -1}, {"usd": math.nan}, {"usd": math.inf}, {"tokens": 0.5}, {"cents": 1}]
)
def test_a_bad_amount_is_refused(amounts):
    with pytest.raises(ValueError, match=next(iter(amounts))):
        Budget().reserve(**amounts)


def test_ten_dimes_are_exactly_a_dollar():
    # as floats, ten times 0.1 is 0.9999999999999999 and three times 0.1 more than 0.3
    budget = Budget(BudgetLimits(usd=0.3))
    for _ in range(2):
        budget.reserve(usd=0.1).settle()
    assert budget.spent()["usd"] <= 0.3
    assert budget.affords(usd=0.0999999999)
    assert not budget.affords(usd=0.1000000001)


def test_seconds_pass_by_themselves_and_end_everything():
    clock = Clock()
    budget = Budget(BudgetLimits(seconds=60), clock=clock)
    budget.restore({"seconds": 40.0})
    clock.now += 15
    assert budget.remaining()["seconds"] == 5
    assert budget.affords(evaluations=1)
    clock.now += 5
    assert budget.spent()["seconds"] == 60
    with pytest.raises(BudgetExhausted, match="60 of 60 seconds"):
        budget.reserve(evaluations=1)


def test_a_restored_budget_continues_where_the_first_ended():
    first = Budget(BudgetLimits(evaluations=10, usd=2.0))
    first.reserve(evaluations=7, usd=1.25).settle()
    second = Budget(BudgetLimits(evaluations=10, usd=2.0))
    second.restore(first.spent())
    assert second.remaining()["evaluations"] == 3
    assert second.spent()["usd"] == 1.25
    assert not second.affords(usd=0.76)


def test_a_limit_below_what_is_restored_leaves_nothing_and_never_less():
    budget = Budget(BudgetLimits(tokens=10))
    budget.restore({"tokens": 50})
    assert budget.remaining()["tokens"] == 0
    assert not budget.affords(tokens=1)


amounts = st.fixed_dictionaries({"tokens": st.integers(0, 60), "usd": st.floats(0, 0.7, allow_nan=False)})
steps = st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release"]), amounts, st.floats(0, 1)), max_size=60)


@given(steps, st.integers(0, 200), st.floats(0, 2))
def test_no_interleaving_passes_a_cap(steps, tokens, usd):
    budget = Budget(BudgetLimits(tokens=tokens, usd=usd))
    open_, settled = [], 0
    for kind, amount, share in steps:
        if kind == "reserve":
            with contextlib.suppress(BudgetExhausted):
                open_.append(budget.reserve(**amount))
        elif open_:
            reservation = open_.pop(int(share * (len(open_) - 1)))
            if kind == "release":
                reservation.release()
            else:
                actual = math.floor(reservation.amounts["tokens"] * share)
                reservation.settle(tokens=actual, usd=reservation.amounts["usd"] * share)
                settled += actual
        spent, reserved = budget.spent(), budget.reserved()
        assert spent["tokens"] == settled
        assert spent["tokens"] + reserved["tokens"] <= tokens
        assert spent["usd"] <= usd
    for reservation in open_:
        reservation.release()
    assert set(budget.reserved().values()) == {0}


def test_threads_together_never_pass_a_cap():
    budget = Budget(BudgetLimits(tokens=10_000))

    def work(seed: int) -> int:
        rng, spent = random.Random(seed), 0
        for _ in range(500):
            try:
                with budget.reserve(tokens=rng.randrange(1, 200)) as reservation:
                    actual = rng.randrange(int(reservation.amounts["tokens"]) + 1)
                    if rng.random() < 0.2:
                        reservation.release()
                        continue
                    reservation.settle(tokens=actual)
                    spent += actual
            except BudgetExhausted:
                pass
        return spent

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(work, range(8)))
    assert total == budget.spent()["tokens"] <= 10_000
    assert budget.reserved()["tokens"] == 0


def test_waiters_use_what_others_give_back_up_to_nine_tenths_of_the_cap():
    # 64 callers, each reserving 8 times what it will spend: without waiting most would give up.
    budget = Budget(BudgetLimits(usd=5.0))
    rng = random.Random(1)
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while True:
            try:
                reservation = await budget.reserve_later(usd=0.04)
            except BudgetExhausted:
                return
            await asyncio.sleep(rng.random() * 1e-4)
            if rng.random() < 0.1:
                reservation.release()
            else:
                reservation.settle(usd=rng.random() * 0.01)
            calls += 1

    async def main() -> None:
        await asyncio.gather(*(caller() for _ in range(64)))

    asyncio.run(main())
    assert 0.9 * 5.0 <= budget.spent()["usd"] <= 5.0
    assert budget.reserved()["usd"] == 0
    assert calls > 500


def test_a_waiter_that_is_cancelled_or_out_of_time_leaves_nothing_behind():
    budget = Budget(BudgetLimits(tokens=10, seconds=0.3))

    async def main() -> None:
        held = budget.reserve(tokens=10)
        waiter = asyncio.create_task(budget.reserve_later(tokens=5))
        await asyncio.sleep(0.01)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        with pytest.raises(BudgetExhausted, match="seconds"):
            await budget.reserve_later(tokens=5)
        held.release()

    asyncio.run(main())
    assert budget.reserved()["tokens"] == 0


# splitting


def test_what_a_child_is_given_leaves_its_parent_until_it_is_closed():
    parent = Budget(BudgetLimits(tokens=100, usd=1.0))
    child = parent.split(tokens=60, usd=0.1)
    assert parent.remaining()["tokens"] == 40
    assert not parent.affords(tokens=41)
    child.reserve(tokens=20, usd=0.1).settle()
    assert child.remaining()["tokens"] == 40
    child.close()
    assert (parent.spent()["tokens"], parent.spent()["usd"]) == (20, pytest.approx(0.1, abs=1e-11))
    assert parent.remaining()["tokens"] == 80
    assert set(parent.reserved().values()) == {0}


def test_more_than_is_left_cannot_be_split_off():
    parent = Budget(BudgetLimits(tokens=100))
    parent.split(tokens=60)
    with pytest.raises(BudgetExhausted, match="tokens"):
        parent.split(tokens=41)


def test_a_child_has_nothing_of_a_capped_resource_that_it_was_not_given():
    parent = Budget(BudgetLimits(tokens=100, usd=1.0))
    with parent.split(tokens=50) as child:
        assert child.limits.usd == 0
        assert not child.affords(usd=0.01)
        child.reserve(llm_calls=1000).settle()  # without a cap at the parent there is none at the child
    assert parent.spent()["llm_calls"] == 1000


def test_a_child_ends_with_its_parents_seconds():
    clock = Clock()
    parent = Budget(BudgetLimits(seconds=60), clock=clock)
    clock.now += 40
    assert parent.split(seconds=50).limits.seconds == 20
    assert parent.split(seconds=5).limits.seconds == 5
    assert parent.split().limits.seconds == 20


def test_using_a_closed_budget_is_an_error():
    parent = Budget(BudgetLimits(tokens=100))
    child = parent.split(tokens=60)
    held = child.reserve(tokens=10)
    child.close()
    # a step under way may yet be charged
    assert parent.spent()["tokens"] == 10
    uses = (
        child.close,
        held.settle,
        held.release,
        lambda: child.reserve(tokens=1),
        lambda: child.affords(tokens=1),
        lambda: child.split(tokens=1),
        lambda: child.restore({"tokens": 1}),
    )
    for use in uses:
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert (parent.spent()["tokens"], parent.remaining()["tokens"]) == (10, 90)


def test_a_waiter_of_a_closed_child_is_told():
    async def main() -> None:
        child = Budget(BudgetLimits(tokens=100)).split(tokens=60)
        child.reserve(tokens=60)
        waiter = asyncio.create_task(child.reserve_later(tokens=1))
        await asyncio.sleep(0.01)
        child.close()
        with pytest.raises(RuntimeError, match="closed"):
            await asyncio.wait_for(waiter, 5)

    asyncio.run(main())


def test_a_closed_child_wakes_those_who_wait_at_its_parent():
    async def main() -> None:
        parent = Budget(BudgetLimits(tokens=100))
        child = parent.split(tokens=100)
        waiter = asyncio.create_task(parent.reserve_later(tokens=100))
        await asyncio.sleep(0.01)
        child.close()
        assert (await asyncio.wait_for(waiter, 5)).is_open

    asyncio.run(main())


splits = st.lists(
    st.tuples(st.sampled_from(["split", "spend", "close"]), st.integers(0, 80), st.floats(0, 1)), max_size=40
)


@given(splits, st.integers(0, 200))
def test_no_tree_of_budgets_spends_more_than_its_root_has(steps, cap):
    root = Budget(BudgetLimits(tokens=cap))
    tree, spent = [root], 0
    for kind, amount, where in steps:
        budget = tree[int(where * (len(tree) - 1))]
        if kind == "close":
            if budget is not root and budget is tree[-1]:  # children before parents
                tree.pop().close()
            continue
        with contextlib.suppress(BudgetExhausted):
            if kind == "split":
                tree.append(budget.split(tokens=amount))
            else:
                budget.reserve(tokens=amount).settle()
                spent += amount
        assert spent <= cap
        assert root.spent()["tokens"] + root.reserved()["tokens"] <= cap
    while len(tree) > 1:
        tree.pop().close()
    assert root.spent()["tokens"] == spent
    assert root.reserved()["tokens"] == 0
