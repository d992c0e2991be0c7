"""Send keep-alive HTTP/1.1 requests over plain sockets, and measure the CPU time of the server process."""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    cpu_ms: float  # of the server process, for each request
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far, over all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _client(port: int, request: bytes, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        if b" 20" not in head[:15]:
            raise RuntimeError(head.decode())
        took.append(time.perf_counter() - started)
    writer.close()


def measure(pid: int, port: int, request: bytes, *, connections: int, seconds: float) -> Figure:
    async def main() -> Figure:
        await asyncio.gather(*(_client(port, request, time.perf_counter() + 0.3, []) for _ in range(connections)))
        took: list[float] = []
        before, began = cpu_seconds(pid), time.perf_counter()
        await asyncio.gather(*(_client(port, request, began + seconds, took) for _ in range(connections)))
        spent, lasted = cpu_seconds(pid) - before, time.perf_counter() - began
        took.sort()
        return Figure(
            spent / len(took) * 1000,
            took[len(took) // 2] * 1000,
            took[int(len(took) * 0.95)] * 1000,
            took[int(len(took) * 0.99)] * 1000,
            len(took) / lasted,
        )

    return asyncio.run(main())


def request_bytes(method: str, path: str, cookie: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: tertulia_session={cookie}\r\nX-Tertulia: 1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
