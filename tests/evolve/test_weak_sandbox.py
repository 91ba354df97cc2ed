"""Runs on a machine whose sandbox is incomplete: refused with the way out, or told and loud."""

import json

import pytest
from tiny import job_shops

from evaluators.sandbox import seal

needs_sandbox = pytest.mark.skipif(seal.landlock_version() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def settings(tmp_path):
    own = [f"--{split}={folder}" for split, folder in job_shops(tmp_path / "own").items()]
    return ["shop/job_shop", "--proposer", "genetic", "--evaluations", "3", "--workers", "1", *own]


@needs_sandbox
@pytest.mark.parametrize("layer", ["landlock", "seccomp"])
def test_a_run_refuses_to_start_without_a_required_layer(call, monkeypatch, settings, tmp_path, layer):
    monkeypatch.setenv(seal.SWITCH, layer)
    code, _, err = call("run", *settings, "--out", tmp_path / "run")
    assert code == 2
    assert f"lacks a layer of the sandbox: {layer}" in err
    assert "--allow-weak-sandbox" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()  # so the same command can be given again


@needs_sandbox
def test_told_so_it_runs_and_warns(call, monkeypatch, settings, tmp_path, caplog):
    monkeypatch.setenv(seal.SWITCH, "landlock")
    code, _, _ = call("run", *settings, "--out", tmp_path / "run", "--allow-weak-sandbox")
    assert code == 0
    assert "WEAK SANDBOX: programs run without landlock" in caplog.text


@needs_sandbox
def test_an_optional_layer_is_not_missed(call, monkeypatch, settings, tmp_path, caplog):
    monkeypatch.setenv(seal.SWITCH, "namespaces,chroot")
    code, _, _ = call("run", *settings, "--out", tmp_path / "run")
    assert code == 0
    assert "WEAK" not in caplog.text


def test_a_switch_that_there_is_not_is_refused(call, monkeypatch):
    monkeypatch.setenv(seal.SWITCH, "landlok")
    for command in (["doctor"], ["evaluate", "shop/job_shop", "spt", "--split", "valid"]):
        code, _, err = call(*command)
        assert code == 2
        assert "EVOLVE_DISABLE_LAYERS names no layer 'landlok'" in err


@needs_sandbox
def test_the_doctor_names_what_is_switched_off(call, monkeypatch):
    monkeypatch.setenv(seal.SWITCH, "landlock,seccomp")
    code, out, err = call("doctor", "--json")
    assert code == 3
    found = {record["layer"]: record for record in json.loads(out)}
    assert not found["landlock"]["works"]
    assert "lacks required layers of the sandbox: landlock, seccomp" in err
