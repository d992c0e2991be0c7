"""Following a run that another process writes: what it has stored, and between two checkpoints what it tells.

A follower asks for a run now and then; while somebody asks, the process that writes it tells every tenth of a second what
has come. Each telling says where in its part it begins, so a lost one leaves a gap that the next checkpoint fills.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tertulia.chat.parts import ReasoningPart, TextPart
from tertulia.realtime.bus import Bus, Message
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.live import LiveRun

ASK_EVERY_S = 3.0
TELL_FOR_S = 10.0
TELL_EVERY_S = 0.1
PIECE = 1200  # characters: as JSON at most six bytes each, and a message must stay below 7,900
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Some text of a part, from a character of it on."""

    part_index: int
    is_reasoning: bool
    offset: int
    text: str


class Followed:
    """What one follower has heard and not yet passed on."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.woken = asyncio.Event()

    def take(self) -> list[Piece]:
        taken, self.pieces = self.pieces, []
        self.woken.clear()
        return taken


class RemoteRuns:
    """Both sides: asking for the runs of others, and telling others of one's own."""

    def __init__(self, bus: Bus, executor: RunExecutor) -> None:
        self._bus = bus
        self._executor = executor
        self._followed: defaultdict[str, set[Followed]] = defaultdict(set)
        self._telling: dict[str, float] = {}  # until when each own run is told, in the loop's time
        self._tasks: set[asyncio.Task[None]] = set()
        bus.listen(self._heard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def follow(self, run_id: str) -> Iterator[Followed]:
        followed = Followed()
        self._followed[run_id].add(followed)
        asking = self._spawn(self._ask(run_id))
        try:
            yield followed
        finally:
            asking.cancel()
            self._followed[run_id].discard(followed)
            if not self._followed[run_id]:
                del self._followed[run_id]

    async def cancel(self, run_id: str) -> None:
        """Ask the process that has the run to stop it now; without it, it hears of it with its next renewal."""
        await self._bus.send({"kind": "cancel", "run_id": run_id})

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, run_id: str) -> None:
        while True:
            if self._executor.find_live(run_id) is None:
                await self._bus.send({"kind": "follow", "run_id": run_id})
            await asyncio.sleep(ASK_EVERY_S)

    def _heard(self, message: Message) -> None:
        run_id = str(message.get("run_id"))
        match message.get("kind"):
            case "piece":
                piece = Piece(
                    int(message["part_index"]), bool(message["reasoning"]), int(message["offset"]), str(message["text"])
                )
                for followed in self._followed.get(run_id, ()):
                    followed.pieces.append(piece)
                    followed.woken.set()
            case "follow":
                live = self._executor.find_live(run_id)
                if live is not None and not live.is_finished:
                    is_told = run_id in self._telling
                    self._telling[run_id] = asyncio.get_running_loop().time() + TELL_FOR_S
                    if not is_told:
                        self._spawn(self._tell(live))
            case "cancel":
                if self._executor.find_live(run_id) is not None:
                    self._spawn(self._executor.cancel(run_id))

    async def _tell(self, live: LiveRun) -> None:
        """Until nobody has asked for a while, or the run ends: its end is in the database."""
        told: list[int] = []
        loop = asyncio.get_running_loop()
        try:
            while self._telling[live.run_id] > loop.time() and not live.is_finished:
                for index, part in enumerate(live.parts()):
                    told += [0] * (index + 1 - len(told))
                    if not isinstance(part, TextPart | ReasoningPart):
                        continue
                    while told[index] < len(part.text):
                        text = part.text[told[index] : told[index] + PIECE]
                        await self._bus.send(
                            {
                                "kind": "piece",
                                "run_id": live.run_id,
                                "part_index": index,
                                "reasoning": int(isinstance(part, ReasoningPart)),
                                "offset": told[index],
                                "text": text,
                            }
                        )
                        told[index] += len(text)
                await asyncio.sleep(TELL_EVERY_S)
        finally:
            del self._telling[live.run_id]
