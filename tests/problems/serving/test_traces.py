"""Public trace formats: what is read, and one rejection per rule."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from problems.problem import BadInstance
from problems.serving._server.requests import NONE
from problems.serving._traces.traces import read, trace_requests

DATA = Path(__file__).parents[4] / "shared/data/llm"
AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319569,3180,8
2023-11-16 18:17:05,110,0
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
1106,ChatGPT,30,0,30,API log
"""
BURSTGPT_SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5.0,a,1.5,ChatGPT,472,18,490,Conversation log
6.0,b,1.5,ChatGPT,100,10,110,Conversation log
45.5,a,2.5,ChatGPT,1087,230,1317,Conversation log
"""


def mooncake(*rows):
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)


def bailian(*rows):
    names = ("chat_id", "parent_chat_id", "timestamp", "input_length", "output_length", "type", "turn", "hash_ids")
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)


MOONCAKE = mooncake(
    [0, 1200, 500, [0, 1, 2]], [3000, 900, 20, [0, 7]], [6000, 1600, 30, [0, 1, 2, 3]], [6000, 20, 1, [9]]
)
BAILIAN = bailian(
    [1, -1, 0.5, 40, 10, "text", 1, [5, 6, 7]],
    [2, -1, 0.7, 33, 10, "text", 1, [5, 8, 9]],
    [3, 1, 9.25, 70, 12, "text", 2, [5, 6, 7, 10, 11]],
)


def written(folder, text, name="trace"):
    path = folder / name
    path.write_text(text)
    return path


def test_azure_2023_keeps_seven_digits_and_counts_empty_answers(tmp_path):
    trace = read(written(tmp_path, AZURE_2023))
    assert (trace.format, trace.left_out) == ("azure", 1)
    assert trace.arrival_s == pytest.approx([0, 0.0519969], abs=1e-6)
    assert trace.input_tokens.tolist() == [4808, 3180]
    assert trace.output_tokens.tolist() == [10, 8]
    assert trace.session.tolist() == [NONE, NONE]


def test_azure_2024_has_time_zones(tmp_path):
    assert read(written(tmp_path, AZURE_2024)).arrival_s == pytest.approx([0, 0.007405], abs=1e-6)


def test_burstgpt_leaves_failures_out(tmp_path):
    trace = read(written(tmp_path, BURSTGPT))
    assert (trace.format, trace.left_out, trace.arrival_s.tolist()) == ("burstgpt", 1, [0.0, 40.0])
    assert read(written(tmp_path, BURSTGPT_SESSIONS)).session.tolist() == [0, 1, 0]


def test_mooncake_blocks_make_sessions_and_a_system_prompt(tmp_path):
    trace = read(written(tmp_path, MOONCAKE))
    assert (trace.format, trace.block_tokens) == ("mooncake", 512)
    assert trace.arrival_s.tolist() == [0, 3, 6, 6]
    requests = trace_requests(trace, predictor=("oracle", 0))
    # the third repeats three blocks of the first; the second shares only the system prompt
    assert requests.session.tolist() == [0, 1, 0, 2]
    assert requests.session_tokens.tolist() == [512, 512, 1536, 0]
    assert requests.prefix_tokens.tolist() == [512, 512, 512, 0]
    assert requests.prefix[3] == NONE
    assert len(set(requests.prefix[:3].tolist())) == 1


def test_bailian_turns_belong_to_the_chat_they_continue(tmp_path):
    trace = read(written(tmp_path, BAILIAN))
    assert (trace.format, trace.block_tokens) == ("bailian", 16)
    assert trace.session.tolist() == [0, 1, 0]
    requests = trace_requests(trace, load=2.0)
    assert requests.arrival_s == pytest.approx([0, 0.1, 4.375])
    assert requests.session_tokens.tolist() == [16, 16, 48]


def test_compressed_traces_are_read_as_they_are(tmp_path):
    path = tmp_path / "trace.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(BURSTGPT)
    assert read(path).input_tokens.tolist() == [472, 1087]


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        (AZURE_2023.replace("3180,8", "3180"), 3, "must hold 3 values as the header does, got 2"),
        (AZURE_2023.replace("3180", "-3180"), 3, "ContextTokens must not be negative, got -3180"),
        (AZURE_2023.replace("3180", "3e3"), 3, "ContextTokens must be a whole number, got '3e3'"),
        (AZURE_2023.replace("2023-11-16 18:17:04", "yesterday"), 3, "TIMESTAMP must be a date and time"),
        (AZURE_2023.replace("18:17:05", "18:17:01"), 4, "arrivals must be in order of time"),
        (BURSTGPT.replace("45,", "soon,"), 3, "Timestamp must be a number, got 'soon'"),
        (BURSTGPT.replace("45,", "-1,"), 3, "Timestamp must be a number >= 0, got '-1'"),
        (BURSTGPT.replace("45,", "nan,"), 3, "Timestamp must be a number >= 0, got 'nan'"),
        (mooncake([0, 5, 5, [1]]) + "\n{nonsense", 2, "a line must be one JSON object"),
        (mooncake([0, 5, 5, [1]]) + "\n[1]", 2, "a line must be one JSON object"),
        (mooncake([0, 5, 5, [1]], [1, "5", 5, [1]]), 2, "input_length must be a whole number, got '5'"),
        (mooncake([0, 5, -5, [1]]), 1, "output_length must not be negative, got -5"),
        (mooncake([0, 5, 5, [1]], [0, 5, 5, ["a"]]), 2, "hash_ids must be a list of whole numbers"),
        (mooncake([0, 5, 5, [1]], [0, 5, 5, [1, 2]]), 2, "2 blocks of 512 tokens exceed the input of 5 tokens"),
        (mooncake([5, 5, 5, [1]], [0, 5, 5, [1]]), 2, "sort the file by time"),
        (mooncake([0, 5, 5, [1]]) + '\n{"input_length": 1, "output_length": 1}', 2, "timestamp is missing"),
        (bailian([1.5, -1, 0, 5, 5, "text", 1, []]), 1, "chat_id must be a whole number, got 1.5"),
        ("prompt,answer\n1,2\n", 1, "no known trace starts with 'prompt,answer'"),
    ],
)
def test_a_broken_line_is_refused_with_file_line_and_rule(tmp_path, text, line, rule):
    with pytest.raises(BadInstance) as error:
        read(written(tmp_path, text, "broken.csv"))
    assert f"broken.csv, line {line}: " in str(error.value)
    assert rule in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_hold_nothing_are_refused(tmp_path):
    for text, rule in (("", "the file is empty"), (BURSTGPT.splitlines()[0], "no request with input and output")):
        with pytest.raises(BadInstance, match=rule):
            read(written(tmp_path, text))
    with pytest.raises(BadInstance, match="not a readable text file"):
        read(tmp_path / "absent.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInstance, match="not a readable text file"):
        read(tmp_path / "bytes.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(BURSTGPT.encode())[:-20])
    with pytest.raises(BadInstance, match="not a readable text file"):
        read(tmp_path / "cut.csv.gz")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here (slices of public traces)")
def test_a_slice_of_mooncake_in_its_own_format_hits_as_published(tmp_path):
    with gzip.open(DATA / "mooncake_conversation.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    keys = ("arrival_ms", "input_tokens", "output_tokens")
    lines = mooncake(*([int(r[k]) for k in keys] + [[int(b) for b in r["block_ids"].split()]] for r in rows))
    trace = read(written(tmp_path, lines, "conversation_trace.jsonl"))
    requests = trace_requests(trace, predictor=("oracle", 0))
    assert len(trace.arrival_s) == len(rows)
    # 35.0 % of the slice's blocks are hits of an infinite cache (36.6 % of the whole trace)
    hits = requests.session_tokens.sum() / 512 / len(trace.blocks)
    assert hits == pytest.approx(0.350, abs=0.01)
    assert np.unique(requests.prefix).tolist() == [0] or requests.prefix_tokens.max() == 512
