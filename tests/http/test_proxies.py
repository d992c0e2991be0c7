"""Test calls through the operator's proxy: tunnels, refusals, who is called directly, and that the guard stays."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tertulia.errors import SettingsError
from tertulia.http import outbound, transport
from tertulia.http.outbound import AddressRefused, Timeouts, guarded_client, operator_client
from tertulia.http.proxies import Proxies

PUBLIC = "93.184.216.34"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class TunnelProxy:
    """A proxy that opens every tunnel to one server, for any target, or answers with a status."""

    def __init__(self, port: int, status: bytes = b"200 Connection established") -> None:
        self.heads: list[str] = []
        self.url = ""
        self._port = port
        self._status = status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 %s\r\nVia: 1.1 fake\r\n\r\n" % self._status)
        if self._status.startswith(b"200"):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer), return_exceptions=True)
        writer.close()

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
        finally:
            target.close()


@asynccontextmanager
async def serving(status: bytes = b"200 OK", tls: ssl.SSLContext | None = None) -> AsyncIterator[TunnelProxy]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as server:
        proxy = TunnelProxy(server.sockets[0].getsockname()[1], status)
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
            proxy.url = f"http://ana:pass%20word@127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            yield proxy
            await asyncio.sleep(0)  # closed connections are noticed


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Replace the name service by this mapping."""
    names: dict[str, str] = {}

    async def look_up(host: str, port: int) -> list[str]:
        if host not in names:
            raise httpx.ConnectError(f"{host} cannot be resolved")
        return [names[host]]

    monkeypatch.setattr(outbound, "_look_up", look_up)
    return names


def test_a_checked_address_is_what_the_proxy_gets(resolves: dict[str, str]) -> None:
    resolves["public.example"] = PUBLIC

    async def main() -> tuple[list[str], list[str]]:
        async with serving() as proxy, guarded_client(Timeouts(), (), Proxies(proxy.url)) as client:
            answers = [(await client.get("http://public.example/a")).text for _ in range(2)]
            return answers, proxy.heads

    answers, heads = asyncio.run(main())
    assert answers == ["hello", "hello"]
    (head,) = heads  # the second call uses the same tunnel
    assert head.splitlines()[:3] == [
        f"CONNECT {PUBLIC}:80 HTTP/1.1",
        f"Host: {PUBLIC}:80",
        "Proxy-Authorization: Basic YW5hOnBhc3Mgd29yZA==",
    ]


@pytest.mark.parametrize(
    ("allowed", "is_called"), [((), False), (("http://only-the-proxy.example",), True), (("http://b.example",), False)]
)
def test_a_name_that_cannot_be_resolved_here_is_left_to_the_proxy_only_if_the_operator_lists_it(
    resolves: dict[str, str], allowed: tuple[str, ...], is_called: bool
) -> None:
    """Refuse it otherwise: its owner could answer the proxy with an internal address."""

    async def main() -> list[str]:
        async with serving() as proxy, guarded_client(Timeouts(), allowed, Proxies(proxy.url)) as client:
            try:
                await client.get("http://only-the-proxy.example/")
            except httpx.ConnectError:
                return []
            return proxy.heads

    heads = asyncio.run(main())
    assert [head.split()[1] for head in heads] == (["only-the-proxy.example:80"] if is_called else [])


def test_an_internal_address_is_refused_to_users_and_called_for_the_operator(resolves: dict[str, str]) -> None:
    resolves["wiki.corp"] = "10.0.0.1"

    async def main() -> list[str]:
        async with serving() as proxy:
            proxies = Proxies(proxy.url)
            async with guarded_client(Timeouts(), (), proxies) as users, operator_client(Timeouts(), proxies) as own:
                with pytest.raises(AddressRefused):
                    await users.get("http://wiki.corp/")
                assert proxy.heads == []
                await own.get("http://wiki.corp/")
            return proxy.heads

    assert [head.split()[1] for head in asyncio.run(main())] == ["wiki.corp:80"]


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server for `public.example` and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "public.example")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("public.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(pem + private)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def test_a_tunnel_is_encrypted_and_its_certificate_is_checked(
    resolves: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves |= {"public.example": PUBLIC, "other.example": PUBLIC}
    server, trusting = certificate(tmp_path)
    monkeypatch.setattr(transport, "_tls", lambda: trusting)

    async def main() -> str:
        async with serving(tls=server) as proxy, guarded_client(Timeouts(), (), Proxies(proxy.url)) as client:
            with pytest.raises(httpx.ProxyError, match="certificate"):
                await client.get("https://other.example/")
            return (await client.get("https://public.example/")).text

    assert asyncio.run(main()) == "hello"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (b"407 Proxy Authentication Required", "wants a user name and password"),
        (b"403 Forbidden", "status 403"),
        (b"abc", "did not answer with HTTP"),
    ],
)
def test_a_refusing_proxy_is_named(resolves: dict[str, str], status: bytes, words: str) -> None:
    resolves["public.example"] = PUBLIC

    async def main() -> None:
        async with serving(status) as proxy, guarded_client(Timeouts(), (), Proxies(proxy.url)) as client:
            await client.get("http://public.example/")

    with pytest.raises(httpx.ProxyError, match=words):
        asyncio.run(main())


def test_an_unreachable_proxy_is_named(resolves: dict[str, str]) -> None:
    resolves["public.example"] = PUBLIC

    async def main() -> None:
        async with guarded_client(Timeouts(), (), Proxies("http://127.0.0.1:9")) as client:
            await client.get("http://public.example/")

    with pytest.raises(httpx.ProxyError, match=r"the proxy 127\.0\.0\.1:9 cannot be used"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("setting", "environment", "scheme", "host", "port"),
    [
        (None, {"HTTPS_PROXY": "http://p:1"}, "https", "a.example", None),
        ("env", {"HTTPS_PROXY": "http://p:1"}, "https", "a.example", 1),
        ("env", {"HTTPS_PROXY": "http://p:1"}, "http", "a.example", None),
        ("env", {"http_proxy": "p:2"}, "http", "a.example", 2),
        ("env", {"ALL_PROXY": "https://p"}, "https", "a.example", 443),
        ("http://p", {}, "https", "a.example", 80),
        ("http://p:3", {"NO_PROXY": "a.example, .b.example"}, "https", "a.example", None),
        ("http://p:3", {"no_proxy": ".b.example"}, "https", "x.b.example", None),
        ("http://p:3", {"NO_PROXY": "*"}, "https", "c.example", None),
        ("http://p:3", {}, "http", "localhost", None),
        ("http://p:3", {}, "http", "127.0.0.1", None),
        ("http://p:3", {}, "http", "::1", None),
    ],
)
def test_a_proxy_is_chosen(
    setting: str | None, environment: dict[str, str], scheme: str, host: str, port: int | None
) -> None:
    proxy = Proxies(setting, environment).find(scheme, host)
    assert (proxy.port if proxy else None) == port


@pytest.mark.parametrize("setting", ["ftp://p", "http://", "http://p:99999999", "socks5://p:1"])
def test_an_invalid_proxy_stops_the_start(setting: str) -> None:
    with pytest.raises(SettingsError, match="TERTULIA_HTTP_PROXY"):
        Proxies(setting, {})
