"""Call the API of a payment provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from tertulia import clock
from tertulia.billing.payments.errors import PaymentProviderError
from tertulia.billing.payments.protocol import CLOCK_SKEW

TIMEOUT_S = 20


@dataclass(frozen=True)
class PaymentApi:
    """The API of a provider, by its name for people. Without a token it cannot be called."""

    name: str
    client: httpx.AsyncClient
    base_url: str
    access_token: str | None

    async def call(
        self, method: str, path: str, *, json: object = None, form: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the object that the provider answers. Raises PaymentProviderError."""
        return (await self.call_dated(method, path, json=json, form=form))[0]

    async def call_dated(
        self, method: str, path: str, *, json: object = None, form: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], datetime]:
        """Return the object that the provider answers, and when by its own clock. Raises PaymentProviderError."""
        try:
            answer = await self.client.request(
                method,
                f"{self.base_url}{path}",
                json=json,
                data=dict(form) if form is not None else None,
                headers={"Authorization": f"Bearer {self.access_token}"},
                timeout=TIMEOUT_S,
            )
            # What is only started, as the making of an invoice, may be answered without a body.
            value = orjson.loads(answer.content) if answer.content else {}
            value = {} if value is None else value
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise self.error(type(error).__name__) from error
        if answer.status_code >= httpx.codes.BAD_REQUEST or not isinstance(value, dict):
            status = answer.status_code
            raise self.error(f"status {status}", is_refused=answer.is_client_error, status=status)
        return value, _moment_of(answer)

    async def address(
        self, method: str, path: str, field: str, *, json: object = None, form: Mapping[str, str] | None = None
    ) -> str:
        """Return the address in a field of the answer. Raises PaymentProviderError."""
        value = (await self.call(method, path, json=json, form=form)).get(field)
        if not isinstance(value, str) or not value.startswith(("https://", "http://")):
            raise self.error("its answer has no address")
        return value

    def error(self, detail: str, *, is_refused: bool = False, status: int | None = None) -> PaymentProviderError:
        return PaymentProviderError(self.name, detail, is_refused=is_refused, status=status)


def _moment_of(answer: httpx.Response) -> datetime:
    """Return when a provider answered, by its clock, which also orders its events; else by ours, a little earlier."""
    try:
        return parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return clock.now() - CLOCK_SKEW
