"""Text files of instances: a file or a folder of them, line by line."""

from __future__ import annotations

from pathlib import Path

from problems.problem import BadInstance


def files_of(path: Path) -> list[Path]:
    """The file, or all ``*.csv`` of a folder in order of name; BadInstance if there are none."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise BadInstance(f"{path}: the folder holds no *.csv file")
    return files


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Numbers and texts of the lines that are not blank; BadInstance if the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInstance(f"{path}: not a readable text file ({error})") from error
    return [(k, line) for k, line in enumerate(lines, 1) if line.strip()]
