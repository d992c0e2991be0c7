"""Serving: the port, the address that is printed, and an orderly end."""

import gc
import os
import secrets
import signal
import socket
import sys
from types import FrameType

import uvicorn

from tertulia.accounts.streams import OpenStreams
from tertulia.app import create_app
from tertulia.clock import now
from tertulia.data_folder import Running, locked_data_folder, write_running
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.http.protocol import ImpatientProtocol
from tertulia.keyring import UnknownKey, find_keyring
from tertulia.logs import configure_logs
from tertulia.sealed import require_keys
from tertulia.services import Services
from tertulia.settings import Settings, environment_name
from tertulia.transfer.backup import back_up

DEFAULT_PORT = 8000
PORTS_TRIED = 100
# Open streams end at once, running replies get ten seconds, storing what is left of them a few more.
SHUTDOWN_S = 20


def bind(settings: Settings) -> socket.socket:
    """The socket to listen on. Only the default port moves to the next free one; a given one that is busy raises."""
    first = DEFAULT_PORT if settings.port is None else settings.port
    for port in range(first, first + (PORTS_TRIED if settings.port is None else 1)):
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        # A server that was killed a second ago leaves connections behind that do not make the port busy.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, port))
            sock.listen(2048)
            return sock
        except PermissionError:
            sock.close()
            raise SettingsError(
                f"Port {port} needs more rights than this user has. Set PORT to one above 1023."
            ) from None
        except OSError as error:
            sock.close()
            if settings.port is not None:
                raise SettingsError(
                    f"{settings.host}:{port} cannot be listened on: {error.strerror}. Set HOST or PORT."
                ) from None
    raise SettingsError(f"The ports {first} to {first + PORTS_TRIED - 1} are all busy. Set PORT to a free one.")


class TertuliaServer(uvicorn.Server):
    """Says its address when it is ready, and lets open streams go as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, services: Services, announcement: str) -> None:
        super().__init__(config)
        self._services = services
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._announcement, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            print("\nStopping: replies that are being written get ten seconds …", flush=True)
        # Not handed on: a stop that was asked for, and that went well, ends with exit code 0.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._services.get(OpenStreams).close_all()
        await super().shutdown(sockets)


def _check_keys(settings: Settings) -> None:
    """Before anything is written. Raises SettingsError where the ring does not open what is stored."""
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
    """Run until a signal. Raises SettingsError with a sentence when it cannot start."""
    configure_logs(settings.log_level)
    os.umask(0o077)  # what people say is for nobody else on this machine
    # The loop asks for the interpreter after each write to a socket, and must not wait 5 ms for a thread at a query.
    sys.setswitchinterval(0.0005)
    with locked_data_folder(settings):
        _check_keys(settings)
        sock = bind(settings)
        found = upgrade_schema(settings, now=now(), back_up=lambda path: back_up(settings, path, now=now()))
        if found == "older":
            print(
                "The database was brought to this version; a backup of the old one lies beside it.",
                flush=True,
            )
        control_token = secrets.token_urlsafe(32)
        app = create_app(settings, control_token=control_token)
        host, port = sock.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        for name in settings.reserved_in_use():
            print(f"{environment_name(name)} is set, but this version does not use it yet.", file=sys.stderr)
        written = write_running(settings, Running(address, os.getpid(), control_token))
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
            http=ImpatientProtocol,
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
            written.unlink(missing_ok=True)
    if not server.started:
        raise SettingsError("The server could not start; its log above says why.")
