"""Fetch a file over HTTP: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from evolve.datasets import Dataset, File
from evolve.errors import UserError

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0  # without a byte


class Fetched(NamedTuple):
    """One file as it lies on disk."""

    path: Path
    size_bytes: int
    sha256: str
    verified: bool  # against a checksum of ours
    fetched: bool  # False: it was there already


def fetch(dataset: Dataset, folder: Path, *, mirror: str = "") -> list[Fetched]:
    """Fetch the files of a data set into a folder; files that are there and right are left alone.

    Parameters
    ----------
    mirror : str
        Take the files from ``mirror/<file name>`` instead; checksums hold for it too.

    Raises
    ------
    UserError
        If it must be fetched by hand, the network or the disk fails, or a file is not what it should be.
    """
    if not dataset.files:
        raise UserError(f"data set {dataset.name}: there is no single file to fetch; see {dataset.page}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_one(dataset, file, folder, mirror) for file in dataset.files]
    except OSError as error:
        raise UserError(f"data set {dataset.name}: cannot write into {folder} ({error.strerror or error})") from None


def _one(dataset: Dataset, file: File, folder: Path, mirror: str) -> Fetched:
    target = folder / file.name
    if target.exists():
        return _there(dataset, file, target)
    part = folder / f".{file.name}.{os.getpid()}.part"
    try:
        size, digest = _download(dataset, f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url, part)
        _check(dataset, file, size, digest, "what came was not kept")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return Fetched(target, size, digest, bool(file.sha256), True)


def _there(dataset: Dataset, file: File, target: Path) -> Fetched:
    digest = hashlib.sha256()
    with target.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    size = target.stat().st_size
    _check(dataset, file, size, digest.hexdigest(), f"remove {target} to fetch it again")
    return Fetched(target, size, digest.hexdigest(), bool(file.sha256), False)


def _check(dataset: Dataset, file: File, size: int, digest: str, way_out: str) -> None:
    """Raise UserError where size or checksum are known and differ."""
    if file.sha256 and digest != file.sha256:
        raise UserError(f"data set {dataset.name}: {file.name} has sha256 {digest}, expected {file.sha256}; {way_out}")
    if file.size_bytes is not None and size != file.size_bytes:
        raise UserError(f"data set {dataset.name}: {file.name} has {size} bytes, expected {file.size_bytes}; {way_out}")


def _download(dataset: Dataset, url: str, part: Path) -> tuple[int, str]:
    """Write the body of a response to a file: (bytes, sha256)."""
    import httpx  # late: only this command needs it

    digest, size = hashlib.sha256(), 0
    by_hand = f"fetch it by hand from {dataset.page}"
    try:
        with httpx.stream(
            "GET", url, follow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        ) as response:
            if response.status_code != 200:
                raise UserError(f"data set {dataset.name}: {url} answered {response.status_code}; {by_hand}")
            with part.open("wb") as stream:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    stream.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                stream.flush()
                os.fsync(stream.fileno())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"data set {dataset.name}: {url} could not be fetched ({reason}); {by_hand}") from None
    return size, digest.hexdigest()
