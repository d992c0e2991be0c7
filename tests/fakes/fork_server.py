"""Run commands of `tertulia`, each in its own process, without loading the program again for each.

A helper process loads the program once and is forked for each command. One such helper serves all tests of a worker.
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_REQUEST = 1 << 20
TIMEOUT_S = 60
HIGHEST_DESCRIPTOR = 1024


class Forked:
    """A running command. It can be used as the process of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.returncode: int | None = None
        self.pid = int(self._hear(TIMEOUT_S))

    def _hear(self, timeout: float | None) -> bytes:
        self._connection.settimeout(timeout)
        heard = self._connection.recv(64)
        assert heard, "the helper that runs commands has ended"
        return heard

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            try:
                self.returncode = int(self._hear(timeout))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("tertulia", timeout or 0) from None
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The helper process, as the tests see it. It is started with the first command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[int]) -> Forked:
        """Start a command. `files` are the descriptors of its input, output and errors."""
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": str(Path.cwd())}
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            socket.send_fds(self._connected(), [json.dumps(request).encode()], [*files, theirs.fileno()])
        return Forked(ours)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and return its exit code and what it printed."""
        with (
            tempfile.TemporaryFile() as stdin_file,
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            stdin_file.write(stdin.encode())
            stdin_file.seek(0)
            running = self.start(arguments, environment, [file.fileno() for file in (stdin_file, stdout, stderr)])
            try:
                code = running.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(arguments, code, stdout.read().decode(), stderr.read().decode())

    def _connected(self) -> socket.socket:
        if self._requests is None:
            self._requests, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            with theirs:
                helper = subprocess.Popen(
                    [sys.executable, "-m", "tests.fakes.fork_server", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            atexit.register(_end, helper, self._requests)
        return self._requests


def _end(helper: "subprocess.Popen[bytes]", requests: socket.socket) -> None:
    requests.close()
    helper.wait(10)


def _serve(descriptor: int) -> None:
    import tertulia.cli  # noqa: F401 - what each command needs, loaded once

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for commands end unnoticed
    with socket.socket(fileno=descriptor) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
            if not request:
                return
            if os.fork() == 0:
                _start(json.loads(request), descriptors)
            for opened in descriptors:
                os.close(opened)


def _start(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Fork a command, tell its process id and later its exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *files, answers = descriptors
    pid = os.fork()
    if pid == 0:
        for place, opened in enumerate(files):
            os.dup2(opened, place)
        os.closerange(3, HIGHEST_DESCRIPTOR)
        os._exit(_run(request))
    for opened in files:
        os.close(opened)
    os.write(answers, b"%d" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(answers, b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(request: Mapping[str, Any]) -> int:
    """Run a command in this process, which was forked for it, and return its exit code."""
    from tertulia.cli import main

    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["tertulia", *request["arguments"]]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
