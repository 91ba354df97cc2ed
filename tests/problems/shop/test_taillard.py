"""Taillard's generator gives the published instances, cell by cell."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from problems.shop._taillard import TAILLARD, generate, seeds

SLICE = Path(__file__).resolve().parents[3] / "../shared/data/classic/jssp_ta.json"


def test_ta01_starts_as_published():
    routing = TAILLARD[0].routing()
    assert routing.duration[0].tolist() == [94, 66, 10, 53, 26, 15, 65, 82, 10, 27, 93, 92, 96, 70, 83]
    assert routing.machine[0].tolist() == [6, 12, 4, 7, 3, 2, 10, 11, 8, 14, 9, 13, 5, 0, 1]


def test_all_eighty_instances_have_the_digest_of_the_published_ones():
    digest = hashlib.sha256()
    for published in TAILLARD:
        for table in published.routing():
            digest.update(table.astype("<i8").tobytes())
    assert digest.hexdigest() == "f5c82964e3f980a74d7c4bbfeb7c5509c15e59bc7fed3146d5e9551c3ccd2821"


@pytest.mark.skipif(not SLICE.exists(), reason="the Taillard slice is not at ../shared/data")
def test_all_eighty_instances_and_their_bounds_equal_the_data_slice():
    instances = json.loads(SLICE.read_text())["instances"]
    assert [p.name for p in TAILLARD] == list(instances)
    for published in TAILLARD:
        routing, given = published.routing(), instances[published.name]
        np.testing.assert_array_equal(routing.machine, given["machine"])
        np.testing.assert_array_equal(routing.duration, given["time"])
        assert (published.best_known, published.lower_bound) == (given["best_known"], given["lower_bound"])


def test_twelve_of_the_eighty_are_still_open():
    assert sum(p.lower_bound < p.best_known for p in TAILLARD) == 12
    assert all(p.lower_bound <= p.best_known for p in TAILLARD)


def test_two_sets_send_every_job_through_the_first_half_of_the_machines_first():
    routing = generate(30, 7, *seeds("any"), longest=200, sets=2)
    assert (routing.machine[:, :3] < 3).all()
    assert (np.sort(routing.machine, axis=1) == np.arange(7)).all()
    assert (routing.machine[:, 0] != routing.machine[0, 0]).any()
    assert routing.duration.min() >= 1
    assert 99 < routing.duration.max() <= 200


def test_our_seeds_depend_on_the_name_only_and_are_not_published_ones():
    assert seeds("train-10x10-0") == (7516646, 519457591)
    drawn = {seeds(f"{split}-{i}") for split in ("train", "valid") for i in range(200)}
    assert len(drawn) == 400
    assert not drawn & {(p.time_seed, p.machine_seed) for p in TAILLARD}
