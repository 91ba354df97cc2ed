"""Transfers, and what shares a GPU."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems._hardware import sharing, transfers
from problems._hardware.transfers import Link
from problems.problem import BadInstance

SHARE = st.floats(0.05, 0.95)


def test_a_swap_block_by_block_is_bound_by_its_copies():
    # Llama-3.1-8B, 1,600 tokens = 100 blocks of 16: 2 copies x 32 layers x 100 at 7 us = 44.8 ms;
    # 209.7 MB / 32 GB/s = 6.6 ms
    over = transfers.link("pcie", "A100-80")
    segments = transfers.kv_segments("Llama-3.1-8B", 1600)
    assert segments == 6400
    data = 1600 * 131_072.0
    assert transfers.transfer_seconds(over, segments, data) == pytest.approx(0.0448 + 0.00655, rel=0.001)
    grouped = transfers.kv_segments("Llama-3.1-8B", 1600, group_blocks=25)
    assert transfers.transfer_seconds(over, grouped, data) == pytest.approx(0.001792 + 0.00655, rel=0.001)


def test_links_that_a_device_lacks_are_refused():
    with pytest.raises(BadInstance, match="L4 has no link 'nvlink'; links: pcie, nic"):
        transfers.link("nvlink", "L4")
    assert transfers.link("nvlink", "H100").bytes_per_s == 450e9


def test_live_migration_pauses_for_the_last_stage_only():
    # 100 tokens of 10 bytes over 1,000 bytes/s take 1 s; 20 tokens decoded meanwhile take 0.2 s, 4 of then 0.04 s
    whole, pause = transfers.migration_seconds(Link(1000.0, 0.0, 0.0), 10, 100, 20, last_tokens=0)
    assert (whole, pause) == (pytest.approx(1.24), pytest.approx(0.04))
    whole, pause = transfers.migration_seconds(Link(1000.0, 0.0, 0.0), 10, 100, 20, last_tokens=20)
    assert (whole, pause) == (pytest.approx(1.2), pytest.approx(0.2))


def test_loading_is_bound_by_storage_unless_the_weights_are_in_host_memory():
    # 16.06 GB at 5 GB/s; at 64 GB/s
    assert transfers.load_seconds("H100", "Llama-3.1-8B") == pytest.approx(3.21, rel=0.01)
    assert transfers.load_seconds("H100", "Llama-3.1-8B", from_host=True) == pytest.approx(0.251, rel=0.01)


@settings(deadline=None)  # the first call compiles
@given(SHARE, SHARE, st.floats(0, 1))
def test_more_multiprocessors_for_decode_slow_prefill_down(a, b, memory):
    less, more = (sharing.split_seconds(1.0, 1.0, share, memory, 0.9, 0.4) for share in sorted((a, b)))
    # while bandwidth suffices for both; where it does not, they also compete for that
    if memory == 0.0:
        assert more.prefill_s >= less.prefill_s
        assert more.decode_s <= less.decode_s
    for found in (less, more):
        assert found.prefill_s >= 1.0
        assert found.decode_s >= 1.0


def test_decode_keeps_its_speed_on_forty_percent_of_the_multiprocessors():
    found = sharing.split_seconds(0.1, 0.02, 0.4, 0.0, 0.9, 0.4)
    assert found.decode_s == pytest.approx(0.02)
    assert found.prefill_s == pytest.approx(0.1 * 0.9 / 0.6)


def test_overlap_is_bound_by_the_busiest_resource():
    assert sharing.overlapped_seconds(3.0, 2.0, 1.0, 0.5, 1.0) == 3.5
    assert sharing.hybrid_seconds(1.0, 2.0, 1.5) == 3.0
    assert sharing.hybrid_seconds(1.0, 2.0, 4.0) == 5.0
    assert sharing.host_attention_seconds(150e9, 32e9, 150e9, 32e9) == 2.0
