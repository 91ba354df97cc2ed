"""Keys: read from the environment or from a file of the user, and cut out of everything that is shown or kept."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from evolve.errors import UserError

_SECRET_NAMES = ("_KEY", "_TOKEN", "_SECRET")
# Shorter values, such as "none" for a local server, are no secrets and occur in ordinary words.
_SHORTEST_SECRET = 7
_from_files: set[str] = set()


def load(path: Path) -> None:
    """Put the variables of a key file into this process's environment, where they win.

    The file holds ``NAME=value`` lines; blank lines and lines that start with ``#`` are skipped, and
    quotes around a value and ``export`` before a name are dropped.

    Raises
    ------
    UserError
        If the file cannot be read, others may read it, or a line has another form; no message
        holds any of its text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"--key-file {path}: cannot be read: {reason}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(f"--key-file {path}: others may read it (mode {mode:o}); close it: chmod 600 {path}")
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(?:export\s+)?(\w+)\s*=\s*([\"']?)(\S+?)\2\s*", line)
        if match is None:
            raise UserError(f"--key-file {path}: line {number} is not NAME=value")
        found[match[1]] = match[3]
    os.environ.update(found)
    _from_files.update(found.values())


def redact(text: str) -> str:
    """The text without keys: values of a key file, and of variables named like a key, token or secret."""
    secrets = _from_files | {value for name, value in os.environ.items() if name.upper().endswith(_SECRET_NAMES)}
    # The longest first: one may contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[redacted]")
    return text
