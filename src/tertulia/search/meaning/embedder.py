"""Vectors of texts, from a process of their own that is started when it is needed and sleeps when it is not."""

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
QUERY_S = 2.0  # a search does not wait longer for its meaning
SLEEP_AFTER_S = 600.0
REMEMBERED = 256  # questions: whoever types asks the same again and again
MOST_ASKED = 8  # questions at once
REST_S = 10.0  # after a failure: searches go by words meanwhile
LINE_BYTES = 1024 * 1024
log = logging.getLogger(__name__)

EmbedderPhase = Literal["fetching", "ready", "failed"]


class EmbeddingFailed(Exception):
    """In words for the log; whoever searches finds by words alone."""


class Embedder:
    """A failure of the model is that of one call: the next one starts it anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Path | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._stopped = threading.Event()
        self._fetching: asyncio.Task[None] | None = None
        self._sleeper: asyncio.TimerHandle | None = None
        self._sleeping: asyncio.Task[None] | None = None
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._asked: dict[str, asyncio.Future[list[bytes]]] = {}  # questions under way, each once
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
        await self._end_child()  # whoever waits for it is told so
        async with self._turn:
            await self._end_child()

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """A vector of each text: 384 signed bytes, of length 127. Raises EmbeddingFailed."""
        async with self._turn:
            if self._stopped.is_set():
                raise EmbeddingFailed("the server is going down")
            try:
                child = await self._awake()
                assert child.stdin is not None
                child.stdin.write(json.dumps(list(texts)).encode() + b"\n")
                vectors = [base64.b64decode(one) for one in await self._answer(child, ANSWER_S)]
            except (EOFError, OSError, ValueError, TimeoutError) as error:
                await self._end_child()
                raise EmbeddingFailed(f"the embedding model does not answer ({type(error).__name__})") from error
            except asyncio.CancelledError:
                await asyncio.shield(self._end_child())  # its answer would be taken for that of the next question
                raise
            self._sleep_later()
            return vectors

    async def embed_query(self, text: str) -> bytes | None:
        """The vector of what somebody asks for; None when it cannot be had soon."""
        if text in self._remembered:
            self._remembered.move_to_end(text)
            return self._remembered[text]
        if not self.prepared.is_set() or self.phase != "ready":
            return None
        asked = self._asked.get(text)
        if asked is None:
            if len(self._asked) >= MOST_ASKED or asyncio.get_running_loop().time() < self._rests_until:
                return None
            asked = self._asked[text] = asyncio.ensure_future(self.embed([text]))
            asked.add_done_callback(lambda done: self._remember(text, done))
        try:
            # It goes on when this one stops waiting, so that the next need not load the model again.
            [vector] = await asyncio.wait_for(asyncio.shield(asked), QUERY_S)
        except (TimeoutError, EmbeddingFailed) as error:
            log.warning("a search goes by words alone: %s", error or "the embedding model is slow")
            return None
        return vector

    def _remember(self, text: str, done: "asyncio.Future[list[bytes]]") -> None:
        self._asked.pop(text, None)
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
            self._file = await asyncio.to_thread(fetch_model, MODEL, self._folder, lambda _: None, self._stopped)
            self.phase = "ready"
        except FetchStopped:
            return
        except (FetchFailed, OSError) as error:
            self.phase = "failed"
            log.warning("no search by meaning, as its model cannot be had: %s", error)
        except Exception:
            self.phase = "failed"
            log.exception("no search by meaning, as its model cannot be had")
        self.prepared.set()

    async def _awake(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        if self._file is None:
            raise EmbeddingFailed("the embedding model is not here")
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
