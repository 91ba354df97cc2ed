from __future__ import annotations

from pathlib import Path

import pytest

from problems.problem import BadInstance
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS
from problems.serving._traces.reader import read

GOOD = "arrival_s,prompt_tokens,output_tokens\n0,100,10\n1.5,20,3\n"


def write(folder: Path, text: str, name: str = "trace.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_requests_and_host_are_read(tmp_path: Path) -> None:
    host = "# device=A10 model=Qwen2.5-7B share=0.5 max_output=64\n"
    (instance,) = read(write(tmp_path, host + GOOD))
    assert instance.name == "trace"
    assert instance.group == "A10, Qwen2.5-7B"
    assert instance.data.requests.arrival_s.tolist() == [0.0, 1.5]
    assert instance.data.requests.predicted_output.tolist() == [10.0, 3.0]
    whole = read(write(tmp_path, host.replace("share=0.5 ", "") + GOOD))[0].data.limit
    assert instance.data.limit[BLOCK_TOKENS] == 16
    assert instance.data.limit[BLOCKS] == pytest.approx(whole[BLOCKS] / 2, abs=1)


def test_a_folder_is_read_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        write(tmp_path, GOOD, name)
    assert [instance.name for instance in read(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no requests"),
        ("arrival_s,prompt_tokens,output_tokens\n", "holds no requests"),
        ("arrival_s,prompt_tokens\n0,1\n", "line 1: needs a column output_tokens"),
        ("arrival_s,prompt_tokens,output_tokens,colour\n0,1,1,2\n", "line 1: unknown column 'colour'"),
        (GOOD + "2,3\n", "line 4: 2 values for 3 columns"),
        (GOOD + "2,x,1\n", "line 4: prompt_tokens must be a number, got 'x'"),
        (GOOD + "2,nan,1\n", "line 4: prompt_tokens must be a number"),
        (GOOD + "2,-3,1\n", "prompt_tokens must be positive, got -3 at request 2"),
        (GOOD + "0.5,3,1\n", "arrival_s must be ascending, got 0.5 at request 2"),
        ("# device=Z80\n" + GOOD, "Z80"),
        ("# device=L4 model=Llama-3.1-70B\n" + GOOD, "does not fit on L4"),
        ("# colour=red\n" + GOOD, "line 1: a host is given by"),
        ("# share=2\n" + GOOD, "share of the KV cache must be in"),
    ],
)
def test_bad_files_are_refused_by_file_line_and_rule(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInstance, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
