"""Provide the built-in model: download it, report progress, start it on demand, and stop it when idle."""

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.errors import ModelNotReady
from tertulia.providers.local.fetch import FetchFailed, FetchStopped, fetch_model, find_fetched
from tertulia.providers.local.known_models import ModelFile, candidates, load_catalogue
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.protocol import ModelRequest, ProviderEvent
from tertulia.providers.schemas import ModelRead, ModelState, Phase
from tertulia.providers.wire import Wire

CONTEXT_WINDOW = 4096
LOAD_S = 120
MAX_ANSWER_LENGTH = 1024  # tokens, if the request sets no limit
SLEEP_AFTER_S = 600
log = logging.getLogger(__name__)


class LocalModel:
    """The built-in model. `chosen` is a name of the catalogue or the path of a GGUF file."""

    name = "local"
    origin = "local"
    continues_prefix = True

    def __init__(
        self,
        chosen: str,
        folder: Path,
        timeouts: Timeouts,
        *,
        catalogue: tuple[ModelFile, ...] | None = None,
        mirror: str | None = None,
    ) -> None:
        self._folder = folder
        self._timeouts = timeouts
        self._file: Path | None = Path(chosen) if chosen.endswith(".gguf") else None
        self._mirror = mirror
        self._candidates = () if self._file else candidates(chosen, catalogue or load_catalogue())
        self._model_name = self._file.stem if self._file else chosen
        self._display_name = self._file.stem if self._file else self._candidates[0].display_name
        self._phase: Phase = "fetching"
        self._progress: float | None = None
        self._detail: str | None = None
        self._prepared = asyncio.Event()
        self._stopped = threading.Event()
        self._loading = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._serving: Wire | None = None
        self._client: httpx.AsyncClient | None = None
        self._busy = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._sleeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._prepare(), name="fetch-model"))

    async def close(self) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sleep()

    def read(self) -> ModelRead:
        state: ModelState = {"phase": self._phase, "progress": self._progress, "detail": self._detail}
        return {
            "provider": self.name,
            "model_name": self._model_name,
            "provider_name": "Built in",
            "display_name": f"{self._display_name} (built in)",
            "context_window": CONTEXT_WINDOW,
            "max_output": None,
            "input_price": Decimal(0),
            "output_price": Decimal(0),
            "capabilities": {
                "vision": False,
                "tools": False,
                "reasoning": False,
                "efforts": [],
                "verbosity": False,
                "web_search": "no",
                "inputs": [],
                "pictures": "no",
            },
            "ignores": [],
            "source": "built_in",
            "deprecated": False,
            "available": self._phase in ("loading", "ready", "asleep"),
            "is_default": False,
            "is_favourite": False,
            "is_in_plan": True,
            "own_window": None,
            "state": state,
        }

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Stream a reply, after waiting for the download and the load. Raises ModelNotReady if there is no model."""
        if request.max_tokens is None:  # a small model can repeat itself until its window is full
            request = replace(request, max_tokens=MAX_ANSWER_LENGTH)
        async with self._in_use() as wire:
            stream = OpenAICompatible(wire, continues_prefix=True).stream(request)
            try:
                async for events in stream:
                    yield events
            finally:
                await stream.aclose()

    async def count_tokens(self, model_name: str, text: str) -> int:  # noqa: ARG002 - one model is loaded
        """Count tokens with the running model's tokenizer. Waits and raises as `stream` does."""
        async with self._in_use() as wire:
            answer = await wire.post_json(wire.base_url.removesuffix("/v1") + "/tokenize", {"content": text})
        return len(answer["tokens"])

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[Wire]:
        """Yield the running server, which is not stopped meanwhile."""
        await self._prepared.wait()
        if self._file is None:
            raise ModelNotReady(self._detail or "The built-in model is not available. Choose another model.")
        self._busy += 1
        if self._sleeper is not None:
            self._sleeper.cancel()
        try:
            yield await self._awake()
        finally:
            self._busy -= 1
            if not self._busy:
                loop = asyncio.get_running_loop()
                self._sleeper = loop.call_later(
                    SLEEP_AFTER_S, lambda: self._tasks.append(loop.create_task(self._sleep()))
                )

    async def _prepare(self) -> None:
        """Get a model file: the chosen one, else the next smaller one available. Failures are shown in the page."""
        try:
            if not _cpu_can():
                self._fail(
                    "This machine's processor lacks AVX2, which the built-in model needs. Add a provider instead."
                )
            elif self._file is not None:
                if not self._file.is_file():
                    self._fail(f"There is no file {self._file}. Set TERTULIA_LOCAL_MODEL to one that exists.")
                    self._file = None
                else:
                    self._phase = "asleep"
            else:
                await self._fetch_first_possible()
        except FetchStopped:
            return
        except Exception as error:
            log.exception("preparing the built-in model failed")
            self._fail(f"The built-in model cannot be prepared ({type(error).__name__}). Add a provider instead.")
        self._prepared.set()

    async def _fetch_first_possible(self) -> None:
        reasons = []
        for model in self._candidates:
            self._model_name, self._display_name = model.name, model.display_name
            self._phase, self._progress = "fetching", 0.0
            ready = await asyncio.to_thread(find_fetched, model, self._folder)
            try:
                if ready is None:
                    log.info("fetching the built-in model %s (%d MB)", model.name, model.size_bytes // 1_000_000)
                    ready = await asyncio.to_thread(
                        fetch_model, model, self._folder, self._advance, self._stopped, mirror=self._mirror
                    )
                self._file, self._phase, self._progress = ready, "asleep", None
                log.info("the built-in model %s is available", model.name)
                if model is not self._candidates[0]:
                    self._detail = (
                        f"{self._candidates[0].display_name} could not be downloaded, so {model.display_name} is used."
                    )
                return
            except FetchFailed as error:
                reasons.append(f"{model.name}: {error}")
        self._model_name, self._display_name = self._candidates[0].name, self._candidates[0].display_name
        log.error("no built-in model: %s", " | ".join(reasons))
        self._fail("The built-in model could not be downloaded. Check the network and restart, or add a provider.")

    def _advance(self, progress: float) -> None:
        if int(progress * 10) > int((self._progress or 0) * 10):
            log.info("fetching the built-in model: %d %%", int(progress * 100))
        self._progress = round(progress, 3)

    def _fail(self, detail: str) -> None:
        self._phase, self._progress, self._detail = "failed", None, detail
        log.error(detail)

    async def _awake(self) -> Wire:
        """Return the running server. Start it if it is stopped or has died."""
        async with self._loading:
            if self._serving is not None and self._child is not None and self._child.returncode is None:
                return self._serving
            assert self._file is not None
            self._phase = "loading"
            secret = secrets.token_urlsafe(32)
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tertulia.providers.local.child",
                str(self._file),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            try:
                self._child.stdin.write(secret.encode() + b"\n")
                async with asyncio.timeout(LOAD_S):
                    answer = json.loads(await self._child.stdout.readline() or b'{"error": "it died at once"}')
            except (TimeoutError, OSError, ValueError) as error:
                answer = {"error": type(error).__name__}
            except asyncio.CancelledError:
                # The caller left while the model was loading. The next request starts it again.
                await asyncio.shield(self._sleep())
                self._phase = "asleep"
                raise
            if "address" not in answer:
                await self._sleep()
                self._phase = "asleep"
                log.error("cannot load the built-in model: %s", answer.get("error"))
                raise ModelNotReady(
                    "The built-in model cannot be loaded on this machine. Try again, or choose another model."
                )
            self._client = self._client or operator_client(self._timeouts)
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
            self._serving = Wire(
                "The built-in model", f"{answer['address']}/v1", headers, self._client, self._timeouts, secret=secret
            )
            self._phase = "ready"
            return self._serving

    async def _sleep(self) -> None:
        """Stop the child process, which frees its memory."""
        child, self._child, self._serving = self._child, None, None
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        if child is None or child.returncode is not None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(3):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if self._phase == "ready":
            self._phase = "asleep"


def _cpu_can() -> bool:
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
