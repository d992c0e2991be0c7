"""Recognise a browser that signed in to an account before, by a signed cookie that outlives its session."""

import base64
import binascii

from fastapi import Request
from starlette.responses import Response

from tertulia.ids import new_id
from tertulia.keyring import SIGNATURE_BYTES, KeyRing

COOKIE = "tertulia_device"
SECURE_COOKIE = f"__Host-{COOKIE}"
MAX_AGE_S = 365 * 24 * 3600


def find_known_device(request: Request, keyring: KeyRing, user_id: str, *, secure: bool) -> str | None:
    """Return the id of the device if it signed in to this account before, else None."""
    try:
        raw = base64.urlsafe_b64decode(request.cookies.get(SECURE_COOKIE if secure else COOKIE, ""))
    except (binascii.Error, ValueError):
        return None
    signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    account, _, device = payload.partition(b" ")
    if account != user_id.encode() or not keyring.verifies("device", payload, signature):
        return None
    return device.decode("ascii", "replace")


def set_known_device(response: Response, keyring: KeyRing, user_id: str, *, secure: bool) -> None:
    """Add the cookie of a new device id. It grants nothing but attempts of its own to enter the password."""
    payload = f"{user_id} {new_id()}".encode()
    value = base64.urlsafe_b64encode(keyring.sign("device", payload) + payload).decode()
    name = SECURE_COOKIE if secure else COOKIE
    response.set_cookie(name, value, max_age=MAX_AGE_S, path="/", secure=secure, httponly=True, samesite="lax")
