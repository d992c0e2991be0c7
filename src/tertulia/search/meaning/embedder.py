"""Compute vectors of texts in a separate process, which starts on demand and stops when idle."""

import asyncio
import base64
import contextlib
import json
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tertulia.providers.local.fetch import FetchFailed, FetchStopped, fetch_model
from tertulia.search.meaning.model import MODEL, TOKENIZER

LOAD_S = 30.0
ANSWER_S = 20.0
QUERY_S = 2.0  # the longest that a search waits for its vector
SLEEP_AFTER_S = 600.0
REMEMBERED = 256  # query vectors, because typing repeats queries
MAX_QUERIED = 8  # concurrent queries
REST_S = 10.0  # pause after a failure; searches use words only meanwhile
LINE_BYTES = 1024 * 1024
log = logging.getLogger(__name__)

EmbedderPhase = Literal["fetching", "ready", "failed"]


class EmbeddingFailed(Exception):
    """An embedding failed; the message is for the log. The search then uses words only."""


class Embedder:
    """Client of the embedding process. A failure ends only the current call; the next one restarts the process."""

    def __init__(self, folder: Path, mirror: str | None = None) -> None:
        self._mirror = mirror
        self._folder = folder
        self._file: Path | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._stopped = threading.Event()
        self._fetching: asyncio.Task[None] | None = None
        self._sleeper: asyncio.TimerHandle | None = None
        self._sleeping: asyncio.Task[None] | None = None
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._queries: dict[str, asyncio.Future[list[bytes]]] = {}  # running queries by text
        self._rests_until = 0.0
        self.prepared = asyncio.Event()
        self.phase: EmbedderPhase = "fetching"

    def start(self) -> None:
        self._fetching = asyncio.create_task(self._fetch(), name="fetch-embedding-model")

    async def close(self) -> None:
        self._stopped.set()
        if self._sleeper is not None:
            self._sleeper.cancel()
        for task in (self._fetching, self._sleeping):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        await self._end_child()  # the call that waits for it fails
        async with self._turn:
            await self._end_child()

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return a vector for each text: 384 signed bytes of norm 127. Raises EmbeddingFailed."""
        async with self._turn:
            if self._stopped.is_set():
                raise EmbeddingFailed("the server is shutting down")
            try:
                child = await self._awake()
                assert child.stdin is not None
                child.stdin.write(json.dumps(list(texts)).encode() + b"\n")
                vectors = [base64.b64decode(vector) for vector in await self._answer(child, ANSWER_S)]
            except (EOFError, OSError, ValueError, TimeoutError) as error:
                await self._end_child()
                raise EmbeddingFailed(f"the embedding model does not answer ({type(error).__name__})") from error
            except asyncio.CancelledError:
                await asyncio.shield(self._end_child())  # else the next call would read this call's answer
                raise
            self._sleep_later()
            return vectors

    async def embed_query(self, text: str) -> bytes | None:
        """Return the vector of a query, or None if it is not available soon."""
        if text in self._remembered:
            self._remembered.move_to_end(text)
            return self._remembered[text]
        if not self.prepared.is_set() or self.phase != "ready":
            return None
        query = self._queries.get(text)
        if query is None:
            if len(self._queries) >= MAX_QUERIED or asyncio.get_running_loop().time() < self._rests_until:
                return None
            query = self._queries[text] = asyncio.ensure_future(self.embed([text]))
            query.add_done_callback(lambda done: self._remember(text, done))
        try:
            # Keep the call running after a timeout, so that the next one need not load the model again.
            [vector] = await asyncio.wait_for(asyncio.shield(query), QUERY_S)
        except (TimeoutError, EmbeddingFailed) as error:
            log.warning("a search uses words only: %s", error or "the embedding model is slow")
            return None
        return vector

    def _remember(self, text: str, done: "asyncio.Future[list[bytes]]") -> None:
        self._queries.pop(text, None)
        if done.cancelled():
            return
        if done.exception() is not None:
            self._rests_until = asyncio.get_running_loop().time() + REST_S
            return
        self._remembered[text] = done.result()[0]
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    async def _fetch(self) -> None:
        try:
            self._file = await asyncio.to_thread(
                fetch_model, MODEL, self._folder, lambda _: None, self._stopped, mirror=self._mirror
            )
            self.phase = "ready"
        except FetchStopped:
            return
        except (FetchFailed, OSError) as error:
            self.phase = "failed"
            log.warning("search by meaning is off, because its model could not be fetched: %s", error)
        except Exception:
            self.phase = "failed"
            log.exception("search by meaning is off, because its model could not be fetched")
        self.prepared.set()

    async def _awake(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        if self._file is None:
            raise EmbeddingFailed("the embedding model is not available")
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tertulia.search.meaning.child",
            str(self._file),
            str(TOKENIZER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES,
        )
        await self._answer(self._child, LOAD_S)
        return self._child

    async def _answer(self, child: asyncio.subprocess.Process, seconds: float) -> list[str]:
        assert child.stdout is not None
        async with asyncio.timeout(seconds):
            line = await child.stdout.readline()
        if not line:
            raise EOFError
        answer: list[str] = json.loads(line)
        return answer

    def _sleep_later(self) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper = asyncio.get_running_loop().call_later(SLEEP_AFTER_S, self._sleep)

    def _sleep(self) -> None:
        async def sleep() -> None:
            async with self._turn:
                await self._end_child()

        self._sleeping = asyncio.create_task(sleep(), name="embedder-sleeps")

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
