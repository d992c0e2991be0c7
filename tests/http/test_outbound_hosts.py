"""Test that a broken domain name in an address is a sentence, wherever a person or a model names one."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tertulia.http.outbound import Timeouts, guarded_client, operator_client

BROKEN = ["xn--a", "xn--", "xn--0", "xn--zzzzzzz-.com", "a" * 64 + ".com", "a..b"]


@pytest.mark.parametrize("host", BROKEN)
@pytest.mark.parametrize("make", [guarded_client, operator_client])
def test_a_broken_domain_name_is_an_error_of_the_address(make: Callable[..., httpx.AsyncClient], host: str) -> None:
    async def call() -> None:
        async with make(Timeouts()) as client:
            await client.get(f"http://{host}/")

    with pytest.raises(httpx.LocalProtocolError, match="not a valid domain name"):
        asyncio.run(call())
