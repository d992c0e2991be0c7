"""Follow a run that another process executes: its stored text and, between two checkpoints, the pieces it sends.

A follower requests a run every few seconds. While there are requests, the executing process sends its new text every
tenth of a second. Each piece has its offset in the part, so a lost one leaves a gap that the next checkpoint fills.
"""

import asyncio
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


@dataclass(frozen=True)
class Piece:
    """Text of a part, starting at the character `offset`."""

    part_index: int
    is_reasoning: bool
    offset: int
    text: str


class RemoteFollower:
    """Pieces that one follower has received and not yet forwarded."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.woken = asyncio.Event()

    def take(self) -> list[Piece]:
        taken, self.pieces = self.pieces, []
        self.woken.clear()
        return taken


class RemoteRuns:
    """Both sides: requests for runs of other processes, and pieces of the runs of this process."""

    def __init__(self, bus: Bus, executor: RunExecutor) -> None:
        self._bus = bus
        self._executor = executor
        self._followed: defaultdict[str, set[RemoteFollower]] = defaultdict(set)
        self._telling: dict[str, float] = {}  # until when pieces of each own run are sent, in loop time
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        bus.listen(self._on_message)

    async def start(self) -> None:
        """Skip: the bus is listened to from the beginning."""

    async def close(self) -> None:
        """Stop sending and asking. Messages that arrive later start nothing: the bus is closed after this."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def follow(self, run_id: str) -> Iterator[RemoteFollower]:
        followed = RemoteFollower()
        self._followed[run_id].add(followed)
        request_task = self._spawn(self._ask(run_id))
        try:
            yield followed
        finally:
            request_task.cancel()
            self._followed[run_id].discard(followed)
            if not self._followed[run_id]:
                del self._followed[run_id]

    async def cancel(self, run_id: str) -> None:
        """Ask the executing process to stop the run now. If the message is lost, its next lease renewal stops it."""
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

    def _on_message(self, message: Message) -> None:
        if self._is_closed:
            return
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
                    is_sending = run_id in self._telling
                    self._telling[run_id] = asyncio.get_running_loop().time() + TELL_FOR_S
                    if not is_sending:
                        self._spawn(self._tell(live))
            case "cancel":
                if self._executor.find_live(run_id) is not None:
                    self._spawn(self._executor.cancel(run_id))

    async def _tell(self, live: LiveRun) -> None:
        """Send pieces until the requests stop or the run ends. Followers read the end from the database."""
        sent_lengths: list[int] = []
        loop = asyncio.get_running_loop()
        try:
            while self._telling[live.run_id] > loop.time() and not live.is_finished:
                for index, part in enumerate(live.parts()):
                    sent_lengths += [0] * (index + 1 - len(sent_lengths))
                    if not isinstance(part, TextPart | ReasoningPart):
                        continue
                    while sent_lengths[index] < len(part.text):
                        text = part.text[sent_lengths[index] : sent_lengths[index] + PIECE]
                        await self._bus.send(
                            {
                                "kind": "piece",
                                "run_id": live.run_id,
                                "part_index": index,
                                "reasoning": int(isinstance(part, ReasoningPart)),
                                "offset": sent_lengths[index],
                                "text": text,
                            }
                        )
                        sent_lengths[index] += len(text)
                await asyncio.sleep(TELL_EVERY_S)
        finally:
            del self._telling[live.run_id]
