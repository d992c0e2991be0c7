"""A `tertulia` process that tests start, kill and start again."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from tests.fakes.fork_server import ForkServer

_FORKS = ForkServer()


class Process:
    def __init__(self, folder: Path, **environment: str) -> None:
        self.environment = self.environment_for(folder) | environment
        self.output: list[str] = []
        self._said = threading.Event()
        reading, writing = os.pipe()
        with open(os.devnull) as nothing:
            self.process = _FORKS.start(["serve"], self.environment, [nothing.fileno(), writing, writing])
        os.close(writing)
        self._stdout = open(reading, encoding="utf-8")  # noqa: SIM115 - closed when the process has ended
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @staticmethod
    def environment_for(folder: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")}
        return inherited | {
            "TERTULIA_DATA": str(folder),
            "TERTULIA_LOCAL_MODEL": "none",
            "TERTULIA_EMBEDDING_MODEL": "none",
            "PORT": "0",
        }

    @property
    def url(self) -> str:
        """Wait for the address that the process prints, and return it."""
        assert self._said.wait(30), self.text
        match = re.search(r"running at (http://\S+)", self.text)
        assert match, self.text
        return match[1]

    @property
    def text(self) -> str:
        return "".join(self.output)

    def loop_cpu_s(self) -> float:
        """Return the processor time of the event loop's thread so far. While it works, no other request is served."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9

    def memory_mib(self) -> float:
        """Return the memory in use, and forget the peak until now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory_mib("VmRSS")

    def peak_memory_mib(self) -> float:
        """Return the highest memory use since `memory_mib`."""
        return self._memory_mib("VmHWM")

    def _memory_mib(self, field: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(f"{field}:")).split()[1]) / 1024

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def wait(self) -> int:
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(40)
        self._reader.join(5)
        self._stdout.close()
        return code

    def _read(self) -> None:
        for line in self._stdout:
            self.output.append(line)
            if "running at" in line:
                self._said.set()
        self._said.set()


def run_cli(environment: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in its own process, to its end."""
    return _FORKS.run(arguments, environment, stdin)
