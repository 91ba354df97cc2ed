"""Splits: all of a problem's instances, or a share of those that guide and select."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import splits
from evaluators.evaluator import Evaluator
from problems.problem import Instance


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_a_share_keeps_order_and_as_much_of_each_group(groups, share):
    instances = [Instance(str(k), group, None) for k, group in enumerate(groups)]
    kept = splits.thinned(instances, share)
    assert [i for i in instances if i in kept] == list(kept)
    sizes, found = Counter(groups), Counter(i.group for i in kept)
    assert found.keys() == sizes.keys()
    assert all(share * sizes[g] <= found[g] < share * sizes[g] + 1 for g in sizes)


@pytest.mark.parametrize(("split", "count"), [("train", 84), ("valid", 104), ("test", 80)])
def test_what_is_reported_is_never_cut(split, count):
    assert len(Evaluator("shop/job_shop", share=0.25).instances(split)) == count
