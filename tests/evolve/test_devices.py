"""``evolve devices``: numbers with sources, a user's own file, and costs."""

import json

import pytest


def test_devices_models_and_engines_are_listed_with_sources(call):
    code, out, _ = call("devices", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"H100", "A100-80", "L4"} <= {d["name"] for d in found["devices"]}
    for device in found["devices"]:
        assert all(number["source"] for number in device["numbers"].values())
    llama = next(m for m in found["models"] if m["name"] == "Llama-3.1-8B")
    assert llama["kv_bytes_per_token"] == 131_072
    assert {e["name"] for e in found["engines"]} >= {"vllm-0.19", "kernels-only"}
    code, out, _ = call("devices")
    assert code == 0
    assert "DeepSeek-V3" in out


@pytest.mark.parametrize("name", ["h100-sxm", "Mixtral-8x7B", "vllm-0.19", "nf4"])
def test_one_entry_is_shown_with_its_sources(call, name):
    assert call("devices", "show", name)[0] == 0
    assert json.loads(call("devices", "show", name, "--json")[1])["name"]


def test_the_cost_of_a_device_and_model_of_ones_own(call, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[devices.Slow]\nlike = "H100"\nbandwidth_bytes_per_s = 1e12\n[models.M]\nlike = "Llama-3.1-8B"\n')
    slow = json.loads(call("devices", "cost", "Slow", "M", "--file", path, "--json")[1])
    fast = json.loads(call("devices", "cost", "H100", "Llama-3.1-8B", "--json")[1])
    assert slow["decode_ms"]["1"] > 2 * fast["decode_ms"]["1"]
    assert slow["kv_capacity_tokens"] == fast["kv_capacity_tokens"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "H101"], "unknown device 'H101'"),
        (["cost", "H100", "Llama-4"], "unknown model 'Llama-4'"),
        (["cost", "L4", "Llama-3.1-70B"], "does not fit on L4"),
        (["cost", "H100", "Llama-3.1-8B", "--tp", "3"], "tp: must be <= 8 and divide heads = 32, got 3"),
        (["cost", "H100", "Llama-3.1-8B", "--ep", "2"], "ep: must divide experts = 0"),
        (["cost", "H100", "Llama-3.1-8B", "--engine", "x"], "unknown engine 'x'"),
        (["--file", "absent.toml"], "absent.toml: not a readable TOML file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(call, arguments, said):
    code, _, err = call("devices", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
