"""Run the server: bind the port, print the address, and shut down in order."""

import gc
import os
import secrets
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from typing_extensions import override

from tertulia.app import create_app
from tertulia.clock import now
from tertulia.data_folder import RunningServer, locked_data_folder, write_running
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.http.protocol import LimitedHeadProtocol
from tertulia.keyring import UnknownKey, find_keyring
from tertulia.logs import configure_logs
from tertulia.secret_rotation import require_keys
from tertulia.services import Services
from tertulia.settings import Settings, environment_name
from tertulia.transfer.backup import back_up

DEFAULT_PORT = 8000
PORTS_TRIED = 100
# Open streams end at once, running replies get ten seconds, and storing partial replies a few more.
SHUTDOWN_S = 20


def bind(settings: Settings) -> socket.socket:
    """Open the socket to listen on. Only the default port moves to the next free one. Raises SettingsError."""
    first = DEFAULT_PORT if settings.port is None else settings.port
    for port in range(first, first + (PORTS_TRIED if settings.port is None else 1)):
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        # Connections that a killed server left behind must not make the port busy.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, port))
            sock.listen(2048)
            return sock
        except PermissionError:
            sock.close()
            raise SettingsError(
                f"Port {port} needs more privileges than this user has. Set PORT to a number above 1023."
            ) from None
        except OSError as error:
            sock.close()
            if settings.port is not None:
                raise SettingsError(
                    f"Cannot listen on {settings.host}:{port}: {error.strerror}. Change HOST or PORT."
                ) from None
    raise SettingsError(f"The ports {first} to {first + PORTS_TRIED - 1} are all busy. Set PORT to a free one.")


STOPPING = "\nStopping. Running replies have ten seconds to finish …\n".encode()


class TertuliaServer(uvicorn.Server):
    """A server that prints its address when ready, and closes open streams as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, services: Services, announcement: str) -> None:
        super().__init__(config)
        self._services = services
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._announcement, flush=True)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            # Written past the buffer of stdout: the signal may interrupt a print, which cannot be entered again.
            with suppress(OSError, ValueError):
                os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, STOPPING)
        # The signal is not raised again: a requested stop that succeeds ends with exit code 0.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._services.stop()
        await super().shutdown(sockets)


def _check_keys(settings: Settings) -> None:
    """Check the keys before anything is written. Raises SettingsError if the ring cannot open the stored secrets."""
    if settings.sqlite_path is not None and not settings.sqlite_path.exists():
        return
    engine = plain_engine(settings, writes=False)
    try:
        require_keys(engine, find_keyring(settings.secret_keys, settings.data))
    except UnknownKey as error:
        raise SettingsError(error.detail) from None
    finally:
        engine.dispose()


def serve(settings: Settings) -> None:
    """Run until a signal. Raises SettingsError if it cannot start."""
    configure_logs(settings.log_level)
    os.umask(0o077)  # other users of this machine must not read the data
    # The event loop needs the GIL after each socket write, and must not wait 5 ms for a thread that runs a query.
    sys.setswitchinterval(0.0005)
    with locked_data_folder(settings):
        _check_keys(settings)
        sock = bind(settings)
        old_state = upgrade_schema(settings, now=now(), back_up=lambda path: back_up(settings, path, now=now()))
        if old_state == "older":
            print(
                "The database was upgraded to this version. A backup of the old one was saved first.",
                flush=True,
            )
        control_token = secrets.token_urlsafe(32)
        app = create_app(settings, control_token=control_token)
        host, port = sock.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        for name in settings.reserved_in_use():
            print(f"{environment_name(name)} is set, but this version does not use it yet.", file=sys.stderr)
        running_file = write_running(settings, RunningServer(address, os.getpid(), control_token))
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=SHUTDOWN_S,
            timeout_keep_alive=30,
            loop="uvloop",
            http=LimitedHeadProtocol,
            lifespan="on",
        )
        moved = f" (port {DEFAULT_PORT} is busy)" if settings.port is None and port != DEFAULT_PORT else ""
        shown = settings.public_url or address
        server = TertuliaServer(
            config, app.state.services, f"Tertulia is running at {shown}{moved}\nStop it with Ctrl-C."
        )
        # What was made by now stays for ever: the collector need not look at it again, nor as often as for a script.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        try:
            server.run(sockets=[sock])
        finally:
            running_file.unlink(missing_ok=True)
    if not server.started:
        raise SettingsError("The server could not start. See the log above.")
