"""The doctor finds every layer that works, sees through one that does not, and says what follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import KEY, needs_namespaces, needs_sandbox

from evaluators.processes import launch
from evaluators.sandbox import doctor, seal

LAYERS = [
    "environment", "descriptors", "limits", "namespaces", "chroot", "privileges", "landlock", "seccomp", "worker",
    "group kill", "parent death", "CPU limit", "task seal", "versions",
]  # fmt: skip
OPTIONAL = {"namespaces", "chroot", "versions"}


def probe(before: str = "", **environment: str) -> dict[str, doctor.Record]:
    """Records of what a process closes on itself, from one that first runs some Python."""
    script = f"import json, os\nfrom evaluators.sandbox import doctor, namespaces, seal\n{before}\n"
    done = subprocess.run(
        [sys.executable, "-c", script + "print(json.dumps(doctor.probe()))"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {record["layer"]: record for record in json.loads(done.stdout)}


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = "from evolve.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], env=os.environ | environment, capture_output=True, text=True
    )


@needs_sandbox
def test_the_doctor_finds_every_required_layer_working_here(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    records = doctor.examine()
    assert [r["layer"] for r in records] == LAYERS
    assert {r["layer"] for r in records if not r["required"]} == OPTIONAL
    assert doctor.missing(records) == [], records
    assert KEY not in json.dumps(records)


@needs_namespaces
def test_the_doctor_finds_the_optional_layers_working_where_the_kernel_has_them():
    records = probe()
    assert records["namespaces"]["works"], records["namespaces"]
    assert records["chroot"]["works"], records["chroot"]


# layer: (Python that takes its force away, what the doctor then manages to do)
HOLLOW = {
    "descriptors": ("seal.close_descriptors = lambda keep: None", "used an inherited descriptor"),
    "limits": ("seal.limit_resources = lambda memory, cpu: None", "allocated 1 GiB"),
    "namespaces": ("namespaces.enter = lambda: []", "saw a process"),
    "privileges": ("hollow('privileges')", "changed the root|kept the way to rights"),
    "landlock": ("hollow('landlock')", "read a file"),
    "seccomp": ("hollow('seccomp')", "opened a socket"),
    "worker": ("hollow('seccomp')\nhollow('landlock')\nhollow('chroot')", "opened a socket"),
    "group kill": ("seal.own_group = lambda: None\nos.killpg = os.kill", "survived"),
    "parent death": ("seal.die_with = lambda parent: None", "outlived"),
}  # fmt: skip
_HOLLOW = """
def hollow(name):
    seal.LAYERS = tuple(l._replace(close=lambda: None) if l.name == name else l for l in seal.LAYERS)
"""


@needs_sandbox
@pytest.mark.parametrize("layer", HOLLOW)
def test_the_doctor_sees_through_a_layer_that_does_nothing(layer: str):
    source, deed = HOLLOW[layer]
    record = probe(_HOLLOW + source)[layer]
    assert not record["works"]
    assert any(words in record["detail"] for words in deed.split("|")), record


@needs_sandbox
@pytest.mark.parametrize("layer", ["limits", "privileges", "landlock", "seccomp"])
def test_a_required_layer_that_is_switched_off_is_named_with_exit_code_3(layer: str):
    done = command("doctor", "--json", **{seal.SWITCH: layer})
    assert done.returncode == 3
    missing = doctor.missing(json.loads(done.stdout))
    assert layer in missing
    assert set(missing) <= {layer, "worker", "task seal"}
    assert layer in done.stderr
    assert "--allow-weak-sandbox" in done.stderr


@needs_sandbox
def test_an_optional_layer_that_is_switched_off_is_shown_and_forgiven():
    done = command("doctor", **{seal.SWITCH: "namespaces,chroot"})
    assert done.returncode == 0
    assert "no (optional)" in done.stdout


@needs_sandbox
def test_with_every_layer_working_the_exit_code_is_0():
    done = command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert doctor.missing(json.loads(done.stdout)) == []


def test_a_switch_for_a_layer_that_there_is_not_is_refused_with_those_there_are():
    done = command("doctor", **{seal.SWITCH: "landlok"})
    assert done.returncode == 2
    assert (
        "names no layer 'landlok'; there are limits, namespaces, chroot, privileges, landlock, seccomp" in done.stderr
    )


@needs_sandbox
def test_a_process_that_is_not_root_has_every_required_layer():
    nobody = "if os.geteuid() == 0:\n    os.setgroups([])\n    os.setgid(65534)\n    os.setuid(65534)\n"
    records = probe(f"import importlib.metadata\n{nobody}assert os.geteuid() != 0")
    assert doctor.missing(records.values()) == [], records


@needs_sandbox
def test_where_namespaces_are_forbidden_the_required_layers_hold():
    # As in a container whose runtime refuses unshare and mounting to root as well.
    refuse = "def refuse(): raise PermissionError('forbidden')\n"
    records = probe(refuse + "namespaces.enter = namespaces.empty_root = refuse")
    assert doctor.missing(records.values()) == [], records
    assert not records["namespaces"]["works"]
    assert not records["chroot"]["works"]


def test_on_a_system_without_linux_calls_the_layers_are_missing_by_name():
    records = probe("import sys\nsys.platform = 'darwin'")
    assert {"limits", "privileges", "landlock", "seccomp", "parent death"} <= set(doctor.missing(records.values()))
    assert records["descriptors"]["works"]


def test_a_clean_process_gets_no_variable_that_is_not_named(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    assert KEY not in launch.environment().values()
    assert "PYTHONPATH" not in launch.environment()
