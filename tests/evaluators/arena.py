"""What hostile acts reach for, laid out for real, and whether anything of it was touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hostile_acts import Targets

PRIVATE_KEY = "-----BEGIN PLANTED PRIVATE KEY-----"


class Arena(NamedTuple):
    """Planted files, servers and a process, and how the files looked at first."""

    targets: Targets
    servers: list[socket.socket]
    before: str

    def traces(self) -> list[str]:
        """What has changed since the arena was made; [] if nothing has."""
        found = []
        if _digest(Path(self.targets.folder)) != self.before:
            found.append("files changed")
        if not is_alive(self.targets.victim):
            found.append("the victim was killed")
        if list(Path("/dev/shm").glob("evolve-escaped*")):
            found.append("something is left in /dev/shm")
        for server in self.servers:
            with contextlib.suppress(BlockingIOError):
                server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()
                found.append(f"a server was reached: {server.getsockname()!r}")
        return found


def is_alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def make_arena(folder: Path) -> Iterator[Arena]:
    """Plant everything in an empty folder; its path must be short, for the sake of a unix socket."""
    for name, text in {
        "home/.ssh/id_ed25519": PRIVATE_KEY,
        "runs/other/run.sqlite": "a paid run",
        "cache/kernel.nbc": "native code",
        "planted.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "planted_link").symlink_to(folder / "runs/other/run.sqlite")
    with contextlib.ExitStack() as stack:
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        unix, abstract = (socket.socket(socket.AF_UNIX) for _ in range(2))
        servers = [stack.enter_context(s) for s in (tcp, udp, unix, abstract)]
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(folder / "unix"))
        abstract.bind(f"\0evolve-{tcp.getsockname()[1]}")
        for server in servers:
            server.setblocking(False)
            if server is not udp:
                server.listen(16)
        with subprocess.Popen(["sleep", "600"]) as victim:
            try:
                targets = Targets(str(folder), tcp.getsockname()[1], udp.getsockname()[1], victim.pid, os.getpid())
                yield Arena(targets, servers, _digest(folder))
            finally:
                victim.kill()


def _digest(folder: Path) -> str:
    """Of names, kinds, permissions, times and contents of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        digest.update(f"{path} {status.st_mode} {status.st_mtime_ns} {status.st_nlink}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
