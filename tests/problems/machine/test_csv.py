"""A user's own instances."""

from __future__ import annotations

import pytest

from problems.machine.total_tardiness import PROBLEM, lower_bounds
from problems.problem import BadInstance, Reference


def test_a_csv_file_is_one_instance_with_its_optimum(tmp_path):
    file = tmp_path / "shop-floor.csv"
    file.write_text("duration,due\n10,9\n\n 3 , 10\n3,11\n")
    (instance,) = PROBLEM.read(file)
    assert (instance.name, instance.group) == ("shop-floor", "n3")
    assert instance.data.duration.tolist() == [10, 3, 3]
    assert instance.data.due.tolist() == [9, 10, 11]
    assert instance.references == {"total_tardiness": Reference(7.0, "optimum")}


def test_a_folder_holds_one_instance_per_csv_file(tmp_path):
    for name, text in (("b.csv", "1,1"), ("a.csv", "2,2"), ("notes.txt", "not an instance")):
        (tmp_path / name).write_text(text)
    assert [i.name for i in PROBLEM.read(tmp_path)] == ["a", "b"]


def test_without_a_known_optimum_the_reference_is_the_bound(tmp_path):
    file = tmp_path / "long.csv"
    file.write_text("5,7\n" * 201)
    (instance,) = PROBLEM.read(file)
    assert instance.references["total_tardiness"] == Reference(
        lower_bounds(instance.data)["total_tardiness"], "lower bound"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no jobs"),
        ("p,d\n", "holds no jobs"),
        ("1,2\n3\n", "line 2: a line must hold 'duration,due', got '3'"),
        ("1,2,3\n", "line 1: a line must hold 'duration,due', got '1,2,3'"),
        ("1,2\n\n3,4.5\n", "line 3: times must be whole numbers .*, got '4.5'"),
        ("1,2\np,d\n", "line 2: times must be whole numbers .*, got 'p'"),
        ("1,1_0\n", "got '1_0'"),
        ("1,2\n0,4\n", "line 2: duration must be positive, got 0"),
        ("1,-2\n", "line 1: due date must not be negative, got -2"),
        ("999999999999999,1\n" * 20, r"below 2\*\*53"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, text, message):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(BadInstance, match=message) as caught:
        PROBLEM.read(file)
    assert str(file) in str(caught.value)


def test_unreadable_text_is_refused(tmp_path):
    file = tmp_path / "binary.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInstance, match="not a readable text file"):
        PROBLEM.read(file)
