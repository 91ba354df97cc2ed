"""Public data sets: what is known of them, and fetching against a loopback server."""

import hashlib
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evolve import datasets
from evolve import fetch as fetching
from evolve.datasets import DATASETS, Dataset, File
from evolve.errors import UserError

BODY = b"TIMESTAMP,ContextTokens,GeneratedTokens\n" * 50_000  # two chunks


class Handler(BaseHTTPRequestHandler):
    """``/right`` and ``/data.csv`` answer BODY, ``/moved`` points there, ``/cut`` breaks off, all else is missing."""

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/right")
            self.end_headers()
            return
        known = self.path in ("/right", "/cut", "/data.csv", "/AzureLLMInferenceTrace_code.csv")
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(BODY) if known else 0))
        self.end_headers()
        if known:
            self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/cut" else BODY)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.paths = []
        found.url = f"http://127.0.0.1:{found.server_address[1]}"
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def dataset(url, **known):
    return Dataset("set", "llm", "a set", "MIT", "https://example.org/page", "2 MB", (File(url, **known),))


def test_every_data_set_says_whose_it_is_and_on_what_terms():
    assert len({d.name for d in DATASETS}) == len(DATASETS)
    assert {d.family for d in DATASETS} == {"classic", "cloud", "llm"}
    for found in DATASETS:
        assert found.licence
        assert found.title
        assert found.size
        assert found.page.startswith("https://")
        assert len({file.name for file in found.files}) == len(found.files)
        for file in found.files:
            assert file.url.startswith("https://")
            assert not file.sha256 or len(file.sha256) == 64


def test_a_file_is_fetched_checked_and_not_fetched_again(server, tmp_path):
    digest = hashlib.sha256(BODY).hexdigest()
    source = dataset(server.url + "/data.csv", size_bytes=len(BODY), sha256=digest)
    (file,) = fetching.fetch(source, tmp_path / "new" / "folder")
    assert file.path.read_bytes() == BODY
    assert (file.size_bytes, file.sha256, file.verified, file.fetched) == (len(BODY), digest, True, True)
    (again,) = fetching.fetch(source, tmp_path / "new" / "folder")
    assert not again.fetched
    assert server.paths == ["/data.csv"]
    assert [p.name for p in file.path.parent.iterdir()] == ["data.csv"]


def test_redirects_are_followed(server, tmp_path):
    (file,) = fetching.fetch(dataset(server.url + "/moved"), tmp_path)
    assert file.path.read_bytes() == BODY
    assert not file.verified


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("path", "known", "message"),
    [
        ("/right", {"sha256": "0" * 64}, r"right has sha256 [0-9a-f]{64}, expected 0{64}; what came was not kept"),
        ("/right", {"size_bytes": 3}, r"right has 2000000 bytes, expected 3; what came was not kept"),
        ("/absent", {}, r"answered 404; fetch it by hand from https://example.org/page"),
        ("/cut", {}, r"could not be fetched \(.*\); fetch it by hand"),
        ("", {}, r"could not be fetched \(.*\); fetch it by hand"),
    ],
)
def test_what_is_not_whole_and_right_is_not_kept(server, tmp_path, path, known, message):
    url = server.url + path if path else f"http://127.0.0.1:{closed_port()}/data.csv"
    with pytest.raises(UserError, match=message) as error:
        fetching.fetch(dataset(url, **known), tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_and_differs_is_left_alone(server, tmp_path):
    (tmp_path / "data.csv").write_text("mine")
    source = dataset(server.url + "/data.csv", sha256=hashlib.sha256(BODY).hexdigest())
    with pytest.raises(UserError, match=r"remove .*data\.csv to fetch it again"):
        fetching.fetch(source, tmp_path)
    assert (tmp_path / "data.csv").read_text() == "mine"
    assert server.paths == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*file"):
        fetching.fetch(dataset(server.url + "/data.csv"), tmp_path / "file" / "folder")


def test_the_command_lists_without_network_and_fetches_from_a_mirror(call, server, tmp_path):
    code, out, _ = call("data", "--json")
    listed = {d["name"]: d for d in json.loads(out)}
    assert code == 0
    assert listed["azure-llm-2023-code"]["licence"] == "CC-BY 4.0"
    assert listed["bailian-coder"]["files"][0]["sha256"].startswith("3d74974c")
    assert listed["burstgpt-1"]["files"][0]["sha256"] is None
    assert server.paths == []
    code, out, _ = call("data", "fetch", "azure-llm-2023-code", "--to", tmp_path, "--mirror", server.url)
    assert code == 0
    assert "licence: CC-BY 4.0" in out
    assert (tmp_path / "AzureLLMInferenceTrace_code.csv").read_bytes() == BODY


@pytest.mark.parametrize(
    ("name", "said"),
    [("azure", "unknown data set 'azure'"), ("vidur-profiles", "no single file to fetch; see https://github.com/")],
)
def test_what_cannot_be_fetched_is_one_line_and_exit_code_two(call, name, said, tmp_path):
    code, out, err = call("data", "fetch", name, "--to", tmp_path)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_no_network_is_one_line_and_exit_code_two(call, tmp_path):
    mirror = f"http://127.0.0.1:{closed_port()}"
    code, _, err = call("data", "fetch", "burstgpt-1", "--to", tmp_path, "--mirror", mirror)
    assert code == 2
    assert "could not be fetched" in err
    assert err.count("\n") == 1


def test_the_commands_import_neither_the_network_library_nor_the_compiler():
    for module, late in (("evolve.fetch", "httpx"), ("evolve.commands.devices", "numba")):
        script = f"import sys, {module}; assert {late!r} not in sys.modules"
        subprocess.run([sys.executable, "-c", script], check=True)
    assert datasets.BY_NAME.keys() == {d.name for d in DATASETS}
