"""The tables of devices, models and engines, and files of the user's own."""

from pathlib import Path

import pytest

from problems._hardware import user
from problems._hardware.devices import DEVICE_RULES, DEVICES, ENGINE_RULES, ENGINES, device, engine
from problems._hardware.models import MODELS, model
from problems.problem import BadInstance

# parameters in billions and cache bytes per token, as the models' papers state them
PUBLISHED = {
    "Llama-3.1-8B": (8.03, 131_072),
    "Llama-3.1-70B": (70.55, 327_680),
    "Llama-2-7B": (6.74, 524_288),
    "Mistral-7B": (7.24, 131_072),
    "Qwen2.5-7B": (7.62, 57_344),
    "Qwen2.5-32B": (32.76, 262_144),
    "Falcon-180B": (178.6, 163_840),
    "Mixtral-8x7B": (46.7, 131_072),
    "Qwen3-30B-A3B": (30.5, 98_304),
    "DeepSeek-V3": (671.0, 70_272),
    "OPT-13B": (12.8, 819_200),
    "OPT-66B": (65.7, 2_359_296),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_cache_follow_from_the_shape(name):
    billions, cache = PUBLISHED[name]
    assert model(name).parameters / 1e9 == pytest.approx(billions, rel=0.004)
    assert model(name).kv_bytes_per_token == cache


def test_experts_make_active_parameters_fewer():
    assert model("Mixtral-8x7B").active_parameters / 1e9 == pytest.approx(12.9, rel=0.004)
    assert model("DeepSeek-V3").active_parameters / 1e9 == pytest.approx(37.5, rel=0.005)


def test_every_number_names_its_source():
    for record in DEVICES.values():
        assert set(record.sources) == set(DEVICE_RULES)
    for record in ENGINES.values():
        assert set(record.sources) == set(ENGINE_RULES)
    spelled = [source for record in (*DEVICES.values(), *ENGINES.values()) for source in record.sources.values()]
    # a short name that [sources] does not spell out would stand as it is
    assert all(" " in source for source in spelled + [record.source for record in MODELS.values()])


def test_names_are_found_by_alias_and_in_any_case():
    assert device("h100-sxm").name == "H100"
    assert model("llama-3-8b").name == "Llama-3.1-8B"


def test_an_unknown_name_is_refused_with_the_closest_one():
    with pytest.raises(BadInstance, match=r"unknown device 'H101'.*H100"):
        device("H101")
    with pytest.raises(BadInstance, match=r"unknown model 'Lama-3.1-8B'.*Llama-3\.1-8B"):
        model("Lama-3.1-8B")
    with pytest.raises(BadInstance, match="unknown engine 'vllm'"):
        engine("vllm")


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_file_adds_a_device_a_model_and_an_engine(tmp_path):
    path = written(
        tmp_path,
        """
        [sources]
        sheet = "the vendor's data sheet"
        [devices.Half]
        like = "H100"
        bandwidth_bytes_per_s = [1675e9, "sheet"]
        memory_bytes = 40e9
        [models.Deep]
        like = "Llama-3.1-8B"
        layers = 64
        [engines.mine]
        step_s = 1e-3
        sequence_s = 0
        launch_per_layer_s = 0
        prefill_launch_per_layer_s = 0
        gap_per_layer_s = 0
        """,
    )
    hardware = user.load(path)
    half = hardware.devices["Half"]
    assert half.device.peak_flops == device("H100").peak_flops
    assert half.device.bandwidth_bytes_per_s == 1675e9
    assert half.sources["bandwidth_bytes_per_s"] == "the vendor's data sheet"
    assert half.sources["memory_bytes"] == "mine.toml, by its author"
    assert half.sources["peak_flops"] == "as H100"
    assert hardware.models["Deep"].model.kv_bytes_per_token == 2 * model("Llama-3.1-8B").kv_bytes_per_token
    assert hardware.engines["mine"].engine.step_s == 1e-3
    assert "H100" in hardware.devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.X]\nlike = 'H100'\npeak_flops = -1", r"X\.peak_flops: must be a number > 0, got -1"),
        ("[devices.X]\nlike = 'H100'\npeak_flops = true", r"X\.peak_flops: must be a number > 0, got True"),
        ("[devices.X]\nlike = 'H100'\ngemm_flops_efficiency = 2", r"X\.gemm_flops_efficiency: must be an efficiency"),
        ("[devices.X]\nlike = 'H100'\nallreduce_floor_s = [1, 2]", r"X\.allreduce_floor_s: must be three numbers"),
        ("[devices.X]\nlike = 'H100'\nflops = 1", r"X\.flops: there is no such number"),
        ("[devices.X]\npeak_flops = 1e12", r"X\.bandwidth_bytes_per_s: missing"),
        ("[devices.X]\nlike = 'H10'", r"X\.like: unknown device 'H10'"),
        ("[devices]\nX = 3", r"devices\.X: must be a table"),
        ("[gpus.X]\n", r"gpus: there is no such table; known: devices, models, engines"),
        ("[models.X]\nlike = 'OPT-13B'\nkv_heads = 7", r"X\.kv_heads: must divide heads = 40, got 7"),
        ("[models.X]\nlike = 'OPT-13B'\nlayers = 1.5", r"X\.layers: must be a whole number >= 1, got 1\.5"),
        ("[models.X]\nlike = 'OPT-13B'\ngated = 1", r"X\.gated: must be true or false, got 1"),
        ("[models.X]\nlike = 'OPT-13B'\nexperts = 4", r"X\.experts: a model with experts needs experts_per_token"),
        ("[models.X]\nlayers = 2", r"X\.hidden: missing"),
        ("[models.X]\nlike = 'Mixtral-8x7B'\nexperts_per_token = 9", r"X\.experts_per_token: must be <= experts = 8"),
        ("[engines.X]\nstep_s = 1", r"X\.sequence_s: missing"),
        ("not toml", r"not a readable TOML file"),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_and_rule(tmp_path, text, message):
    with pytest.raises(BadInstance, match=r"mine\.toml.*" + message) as error:
        user.load(written(tmp_path, text))
    assert "\n" not in str(error.value)
