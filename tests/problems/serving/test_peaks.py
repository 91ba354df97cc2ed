"""The peak of what accumulates over time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from problems.serving._server.peaks import peak

spans = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 4)), max_size=12)


def test_the_fullest_moment_by_hand():
    # 2 from 0 to 4, 3 from 1 to 3, 4 from 3 to 5: 5 at 1, 6 at 3, when the 3 have left
    assert peak(np.array([0.0, 1.0, 3.0]), np.array([4.0, 3.0, 5.0]), np.array([2, 3, 4])) == (6.0, 3.0)


@given(spans)
def test_it_is_what_counting_at_every_moment_finds(spans):
    start, last, amount = (np.array([row[k] for row in spans], dtype=float) for k in range(3))
    held = [sum(amount[(start <= t) & (t < start + last)]) for t in range(15)]
    most, at = peak(start, start + last, amount)
    assert most == max(held, default=0)
    assert not spans or at == held.index(max(held))
