"""Recognise a browser that signed in to an account before, by a signed cookie that outlives its session."""

import base64
import binascii

from tertulia.ids import new_id
from tertulia.keyring import SIGNATURE_BYTES, KeyRing

DEVICE_COOKIE = "tertulia_device"
SECURE_DEVICE_COOKIE = f"__Host-{DEVICE_COOKIE}"
MAX_AGE_S = 365 * 24 * 3600


def find_known_device(cookie: str, keyring: KeyRing, user_id: str) -> str | None:
    """Return the id of the device if it signed in to this account before, else None."""
    try:
        raw = base64.urlsafe_b64decode(cookie)
    except (binascii.Error, ValueError):
        return None
    signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    account, _, device = payload.partition(b" ")
    if account != user_id.encode() or not keyring.verifies("device", payload, signature):
        return None
    return device.decode("ascii", "replace")


def new_device_cookie(keyring: KeyRing, user_id: str) -> str:
    """Create the cookie of a new device. It grants nothing but separate attempts to enter the password."""
    payload = f"{user_id} {new_id()}".encode()
    return base64.urlsafe_b64encode(keyring.sign("device", payload) + payload).decode()
