"""``evolve data requests``: from a workload or a public trace to what a serving problem evaluates."""

import json

import pytest

BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + "".join(
    f"{k},ChatGPT,{100 + k},{5 + k % 7},0,API log\n" for k in range(40)
)


@pytest.mark.slow  # compiles the engine of another problem when the cache is cold
def test_a_workload_becomes_an_instance_that_a_baseline_is_evaluated_on(call, tmp_path):
    path = tmp_path / "chat.csv"
    options = ("--count", "40", "--rate", "2", "--context", "8000")
    code, out, _ = call("data", "requests", "azure-conv", "-o", path, *options)
    assert code == 0
    assert "left out as longer than 8,000 tokens" in out
    assert path.read_text().startswith("# device=A100-80 model=Llama-3.1-8B tp=1 max_output=")
    code, out, err = call("evaluate", "serving/continuous_batching", "vllm_v1", "--instances", path, "--json")
    assert code == 0, err
    assert json.loads(out)["outcome"] == "ok"


def test_a_public_trace_is_read_at_another_rate(call, tmp_path):
    (tmp_path / "burst.csv").write_text(BURSTGPT)
    options = ("--rate", "10", "--count", "20")
    code, *_ = call("data", "requests", tmp_path / "burst.csv", "-o", tmp_path / "out.csv", *options)
    assert code == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 22
    # 40 requests in 39 s become 10 per second
    assert float(lines[-1].split(",")[0]) == pytest.approx(19 / (10 * 39 / 40))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["azure-chat"], "there is no such file; unknown workload 'azure-chat'"),
        (["azure-conv", "--count", "0"], "count must be at least 1, got 0"),
        (["azure-conv", "--rate", "-1"], "rate_per_s must be positive, got -1.0"),
        (["azure-conv", "--predictor", "rank"], "rank correlation (Spearman); value in (0, 1]; got 0.0"),
        (["azure-conv", "--predictor", "rank:high"], "--predictor must be KIND:SIZE with a number"),
        (["azure-conv", "--predictor", "psychic:1"], "unknown predictor 'psychic'"),
        (["azure-conv", "--context", "3"], "no request has at most 3 tokens"),
        (["azure-conv", "--device", "H1"], "unknown device 'H1'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(call, tmp_path, arguments, said):
    code, _, err = call("data", "requests", *arguments, "-o", tmp_path / "out.csv")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()
