from __future__ import annotations

from pathlib import Path

import pytest

from problems.problem import BadInstance
from problems.serving._eviction.data import BLOCK_TOKENS, BLOCKS, NEVER_S
from problems.serving._eviction.reader import read
from problems.serving._offloading.reader import read as read_tiers

SERVER = "# device=A100-80 model=Llama-3.1-8B tp=2 blocks=7 block_tokens=16\n"
GOOD = "arrival_s,prompt_tokens,blocks,session,kind,next_s\n0,40,5 6 7,a,0,\n1.5,33,5 6,b,1,2.5\n2,16,5,a,2,\n"


def write(folder: Path, text: str, name: str = "trace.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_prompts_blocks_and_server_are_read(tmp_path: Path) -> None:
    text = GOOD.replace(",a,", ",3,").replace(",b,", ",9,")
    (instance,) = read(write(tmp_path, SERVER + text))
    data = instance.data
    assert instance.name == "trace"
    assert instance.group == "A100-80, Llama-3.1-8B"
    assert data.arrival_s.tolist() == [0.0, 1.5, 2.0]
    assert data.session.tolist() == [0, 1, 0]
    assert data.kind.tolist() == [0, 1, 2]
    # the block that holds the last token is not cached: 40 tokens have two, 33 have two, 16 have none
    assert data.path_start.tolist() == [0, 2, 4, 4]
    assert data.path.tolist() == [0, 1, 0, 1]
    assert data.parent.tolist() == [-1, 0]
    assert data.hint_node.tolist() == [1, 1]
    assert data.hint_s.tolist() == [NEVER_S, 2.5]
    assert (data.limit[BLOCK_TOKENS], data.limit[BLOCKS]) == (16, 7)


def test_equal_ids_after_other_prefixes_are_other_blocks(tmp_path: Path) -> None:
    (instance,) = read(write(tmp_path, "arrival_s,prompt_tokens,blocks\n0,1025,1 2\n1,1025,3 2\n"))
    assert instance.data.path.tolist() == [0, 1, 2, 3]
    assert instance.data.session.tolist() == [1, 0]  # each its own
    assert len(instance.data.hint_node) == 0


def test_a_folder_is_read_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        write(tmp_path, "arrival_s,prompt_tokens,blocks\n0,1025,1 2\n", name)
    assert [instance.name for instance in read(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no requests"),
        ("arrival_s,prompt_tokens\n0,5\n", "needs a column blocks"),
        ("arrival_s,prompt_tokens,blocks,colour\n0,5,,1\n", "unknown column 'colour'"),
        ("arrival_s,prompt_tokens,blocks\n0,5\n", "line 2: 2 values for 3 columns"),
        ("arrival_s,prompt_tokens,blocks\n0,,1\n", "line 2: prompt_tokens must be a number, got ''"),
        ("arrival_s,prompt_tokens,blocks\n0,5,1 x\n", "line 2: blocks must hold numbers, got '1 x'"),
        ("arrival_s,prompt_tokens,blocks\nnan,5,1\n", "line 2: arrival_s must hold numbers"),
        ("arrival_s,prompt_tokens,blocks\n0,-5,1\n", "prompt_tokens must exceed the 0 tokens"),
        ("arrival_s,prompt_tokens,blocks\n0,inf,1\n", "line 2: prompt_tokens must be below"),
        ("arrival_s,prompt_tokens,blocks\n0,5.5,1\n", "line 2: prompt_tokens must be a whole number, got '5.5'"),
        ("arrival_s,prompt_tokens,blocks\n3,5,1\n1,5,1\n", "arrival_s must be ascending"),
        ("arrival_s,prompt_tokens,blocks,kind\n0,5,1,4\n", "kind must be 0..2, got 4"),
        ("arrival_s,prompt_tokens,blocks,next_s\n0,600,1,-4\n", "hint_s must be between"),
        ("# blocks=0\narrival_s,prompt_tokens,blocks\n0,5,1\n", "blocks must be between 1"),
        ("# block_tokens=0\narrival_s,prompt_tokens,blocks\n0,5,1\n", "block_tokens must be between 1"),
        ("# colour=3\narrival_s,prompt_tokens,blocks\n0,5,1\n", "a server is given by"),
        ("# blocks=many\narrival_s,prompt_tokens,blocks\n0,5,1\n", "a server is given by"),
        ("# device=Abacus\narrival_s,prompt_tokens,blocks\n0,5,1\n", "Abacus"),
    ],
)
def test_what_breaks_the_format_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInstance, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInstance, match="not a readable text file"):
        read(tmp_path / "bytes.csv")


def test_a_first_line_names_tiers_of_memory_and_the_network(tmp_path: Path) -> None:
    line = "# device=A100-80 model=Llama-3.1-8B tp=2 blocks=7 block_tokens=16 host_blocks=9 remote_blocks=20"
    text = GOOD.replace(",a,", ",3,").replace(",b,", ",9,")
    (instance,) = read_tiers(write(tmp_path, f"{line} pool_mbit_per_s=1000\n{text}"))
    (plain,) = read(write(tmp_path, SERVER + text))
    assert all((a == b).all() for a, b in zip(instance.data.caching, plain.data, strict=True))
    assert instance.data.below.tolist() == [9, 20]
    # 131072 bytes a token, half of them per rank over PCIe, all over the network; 64 copies of 7 us
    assert instance.data.link_s[:, 0] == pytest.approx([16 * 65536 / 32e9, 16 * 131072 / 125e6])
    assert instance.data.link_s[:, 1] == pytest.approx([64 * 7e-6] * 2)
    for wrong, message in (("pool_mbit_per_s=0", "must be positive"), ("host_blocks=-1", "a server is given by")):
        with pytest.raises(BadInstance, match=message):
            read_tiers(write(tmp_path, f"# {wrong}\n{text}"))
