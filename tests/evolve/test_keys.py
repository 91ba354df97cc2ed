"""Key files: who may read them, what they may hold, and that nothing of them is shown."""

import os

import pytest

from evolve import keys
from evolve.errors import UserError

SECRET = "planted-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Whatever a test loads is forgotten."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(keys, "_from_files", set())


def key_file(folder, text: str, mode: int = 0o600):
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_variables_of_a_key_file_win_over_the_environment(tmp_path):
    os.environ["OPENAI_API_KEY"] = "another"
    keys.load(
        key_file(tmp_path, f"# mine\n\nOPENAI_API_KEY={SECRET}\nexport B_KEY = \"quoted=value\"\nC_KEY='single'\n")
    )
    assert [os.environ[name] for name in ("OPENAI_API_KEY", "B_KEY", "C_KEY")] == [SECRET, "quoted=value", "single"]


def test_values_of_a_key_file_are_redacted_whatever_their_name(tmp_path):
    keys.load(key_file(tmp_path, f"PASSPHRASE={SECRET}\nREGION=eu\n"))
    assert keys.redact(f"eu: {SECRET}!") == "eu: [redacted]!"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path, mode):
    with pytest.raises(UserError, match=rf"mode {mode:o}\); close it: chmod 600") as caught:
        keys.load(key_file(tmp_path, f"A_KEY={SECRET}\n", mode))
    assert SECRET not in str(caught.value)
    assert "A_KEY" not in os.environ


@pytest.mark.parametrize("line", [SECRET, f"={SECRET}", f"A KEY={SECRET}", "A_KEY=", f"A_KEY={SECRET} {SECRET}"])
def test_a_bad_line_is_named_by_number_and_never_shown(tmp_path, line):
    with pytest.raises(UserError, match="line 2 is not NAME=value") as caught:
        keys.load(key_file(tmp_path, f"B_KEY=x\n{line}\n"))
    assert SECRET not in str(caught.value)
    assert "B_KEY" not in os.environ


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"--key-file .*nowhere: cannot be read: No such file"):
        keys.load(tmp_path / "nowhere")
