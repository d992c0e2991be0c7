"""Verify the signatures of webhooks over the raw body: Standard Webhooks (Polar), and Stripe's own scheme. Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

TOLERANCE_S = 300
MAX_SIGNATURES = 20
MAX_ID = 255


class BadSignature(Exception):
    """A delivery that is not signed with one of our secrets. `reason` is counted, nothing else is kept."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def verify_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> str:
    """Return the id of a delivery that is signed as Standard Webhooks 1.0 says (`v1`). Raises BadSignature.

    A secret is base64 after `whsec_`. Polar's own library accepts its plain bytes as key too, so both are tried.
    """
    sender_id = headers.get("webhook-id", "")
    sent_at = headers.get("webhook-timestamp", "")
    signatures = [part[3:] for part in headers.get("webhook-signature", "").split(" ") if part.startswith("v1,")]
    if not sender_id or len(sender_id) > MAX_ID or not sender_id.isprintable():
        raise BadSignature("no_id")
    _check_age(sent_at, now)
    if not signatures or len(signatures) > MAX_SIGNATURES:
        raise BadSignature("no_signature")
    signed = b"%s.%s.%s" % (sender_id.encode(), sent_at.encode(), body)
    keys = [key for secret in secrets for key in _keys_of(secret)]
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    _check_any(expected, signatures)
    return sender_id


def verify_stripe(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """Check a delivery that is signed as Stripe does: `t=<seconds>,v1=<hex>` over `t.body`. Raises BadSignature."""
    parts = [part.partition("=") for part in headers.get("stripe-signature", "").split(",")]
    sent_at = next((value for name, _, value in parts if name.strip() == "t"), "")
    signatures = [value for name, _, value in parts if name.strip() == "v1"]
    _check_age(sent_at, now)
    if not signatures or len(signatures) > MAX_SIGNATURES:
        raise BadSignature("no_signature")
    signed = b"%s.%s" % (sent_at.encode(), body)
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    _check_any(expected, signatures)


def _keys_of(secret: str) -> list[bytes]:
    keys = [secret.encode()]
    rest = secret.removeprefix("whsec_")
    with suppress(binascii.Error, ValueError):  # then only its plain bytes are a key
        keys.insert(0, base64.b64decode(rest + "=" * (-len(rest) % 4), validate=True))
    return [key for key in keys if key]


def _check_age(sent_at: str, now: datetime) -> None:
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        raise BadSignature("no_timestamp")
    age_s = now.timestamp() - int(sent_at)
    if age_s > TOLERANCE_S:
        raise BadSignature("too_old")
    if age_s < -TOLERANCE_S:
        raise BadSignature("too_new")


def _check_any(expected: Sequence[str], signatures: Sequence[str]) -> None:
    """Compare in constant time, every pair: the time says nothing about which secret or signature is right."""
    matches = [
        hmac.compare_digest(correct.encode(), signature.encode("utf-8", "replace"))
        for correct in expected
        for signature in signatures
    ]
    if not any(matches):
        raise BadSignature("wrong_signature")
