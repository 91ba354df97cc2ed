"""Reader of requests for servers that migrate: the format of serving/request_routing, and its links."""

from __future__ import annotations

from pathlib import Path

from problems._text import files_of
from problems.problem import Instance
from problems.serving._migration.data import on_hosts
from problems.serving._routing.reader import FORMAT as FORMAT
from problems.serving._routing.reader import read_with


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name; servers hand requests on over network adapters.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [read_with(file, on_hosts) for file in files_of(path)]
