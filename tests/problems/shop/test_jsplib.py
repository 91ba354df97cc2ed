"""Reading job shops from text: both layouts, and one refusal per rule."""

import numpy as np
import pytest

from problems.problem import BadInstance
from problems.shop.job_shop import PROBLEM

STANDARD = """\
# two jobs, two machines
2 2   # jobs, machines
0 3 1 2

1 2 0 4
"""
TAILLARD = """\
Nb of jobs, Nb of Machines, Time seed, Machine seed, Upper bound, Lower bound :
   2  2  840612802  398197754  7  7
Times
 3 2
 2 4
Machines
 1 2
 2 1
"""


def write(folder, text, name="two.txt"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [STANDARD, TAILLARD])
def test_both_layouts_give_the_same_shop(tmp_path, text):
    (instance,) = PROBLEM.read(write(tmp_path, text))
    assert (instance.name, instance.group) == ("two", "2x2")
    assert instance.data.machine.tolist() == [[0, 1], [1, 0]]
    assert instance.data.duration.tolist() == [[3, 2], [2, 4]]
    assert instance.references["makespan"] == (7.0, "lower bound")


def test_a_file_in_taillards_layout_may_hold_several_instances(tmp_path):
    names = [i.name for i in PROBLEM.read(write(tmp_path, TAILLARD * 3))]
    assert names == ["two-1", "two-2", "two-3"]


def test_a_folder_is_read_in_order_of_name_without_hidden_files(tmp_path):
    write(tmp_path, STANDARD, "b.txt")
    write(tmp_path, STANDARD, "a.txt")
    write(tmp_path, "nonsense", ".hidden")
    (tmp_path / "folder").mkdir()
    assert [i.name for i in PROBLEM.read(tmp_path)] == ["a", "b"]


def test_equal_stems_in_a_folder_keep_their_endings(tmp_path):
    write(tmp_path, STANDARD, "a.txt")
    write(tmp_path, STANDARD, "a.jsp")
    assert [i.name for i in PROBLEM.read(tmp_path)] == ["a.jsp", "a.txt"]


def test_what_is_written_is_what_is_read(tmp_path):
    data = PROBLEM.probes()[0].data
    n, m = data.machine.shape
    rows = np.stack([data.machine, data.duration], axis=2).reshape(n, 2 * m)
    text = "\n".join([f"{n} {m}", *(" ".join(map(str, row)) for row in rows.tolist())])
    (instance,) = PROBLEM.read(write(tmp_path, text))
    np.testing.assert_array_equal(instance.data.machine, data.machine)
    np.testing.assert_array_equal(instance.data.duration, data.duration)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "two.txt: the file is empty"),
        ("# nothing\n", "two.txt: the file is empty"),
        ("2\n0 1\n0 1\n", "line 1: the first line must be 'n m' .* got '2'"),
        ("two jobs\n", "line 1: numbers must be whole .* got 'two'"),
        ("1 0\n", "line 1: 'n m' .* must be two positive numbers, got '1 0'"),
        ("2 1\n0 5\n", "two.txt: 2 lines of 1 pairs 'machine duration' must follow, the file ends after 1"),
        ("1 2\n0 5 1\n", "line 2: a line must hold 2 pairs .*, 4 numbers, got 3"),
        ("1 1\n0 5\n0 5\n", "line 3: nothing may follow the 1 job lines"),
        ("1 1\n0 0\n", "line 2: a duration must be positive, got 0"),
        ("1 1\n0 -4\n", "line 2: a duration must be positive, got -4"),
        ("1 1\n0 1.5\n", "line 2: numbers must be whole .* got '1.5'"),
        ("1 1\n0 1_0\n", "line 2: numbers must be whole .* got '1_0'"),
        ("1 1\n0 1234567890123456\n", "line 2: numbers must be .* at most 15 digits"),
        ("1 2\n1 5 2 5\n", r"line 2: a job must visit each of the machines 0..1 once, got \[1, 2\]"),
        ("1 2\n0 5 0 5\n", r"line 2: a job must visit each of the machines 0..1 once, got \[0, 0\]"),
        ("Times\n1\nMachines\n1\n", "line 1: the line before 'Times' must start with 'n m'"),
        ("1 1\nTimes\n5\n", "line 3: after this line, the last of the 1 of 'Times', 'Machines' must follow"),
        ("1 1\nTimes\n5\nMachines\n0\n", r"line 5: a job must visit each of the machines 1..1 once, got \[0\]"),
        ("1 1\nTimes\n0\nMachines\n1\n", "line 3: a duration must be positive, got 0"),
        ("1 1\nTimes\n5\nMachines\n", "two.txt: 1 lines of 1 machines must follow, the file ends after 0"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(BadInstance, match=message):
        PROBLEM.read(write(tmp_path, text))


def test_what_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(BadInstance, match="not a readable text file"):
        PROBLEM.read(tmp_path / "none.txt")
    (tmp_path / "two.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInstance, match="not a readable text file"):
        PROBLEM.read(tmp_path / "two.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInstance, match="empty: the folder holds no instance files"):
        PROBLEM.read(tmp_path / "empty")
