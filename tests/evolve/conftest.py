"""What several tests of commands and runs share."""

import signal
import sys

import pytest
from asking import KEY

import evolve
from evolve import answers, cli

# A shell starts what it puts into the background with SIGINT ignored, which commands that tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evolve", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def planted_key(monkeypatch):
    """A key in the environment, no proxy, and short pauses between attempts."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(answers, "_FIRST_PAUSE_S", 0.02)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A short run, used by all tests that look into one."""
    return evolve.run("shop/job_shop", evaluations=30, seed=1, out=tmp_path_factory.mktemp("runs") / "short")
