"""The ring of secret keys, and one derived key for each purpose.

The ring lives outside the database and outside backups: in `TERTULIA_SECRET_KEYS`, or in `secret_keys` in the data
folder (mode 0600, made at the first start). The first key is the primary one; the others still open what they sealed.
"""

import base64
import binascii
import hmac
import os
import secrets
from pathlib import Path
from typing import Literal, get_args

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tertulia.errors import SettingsError

Purpose = Literal["cursor", "idempotency"]
KEY_BYTES = 32
SIGNATURE_BYTES = 16


class KeyRing:
    """Keys of 256 bits, the primary one first. It has no repr of its own, so that no log can show one."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._derived: dict[Purpose, list[bytes]] = {
            purpose: [_derive(key, purpose) for key in keys] for purpose in get_args(Purpose)
        }

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        return _signature(self._derived[purpose][0], message)

    def signatures(self, purpose: Purpose, message: bytes) -> tuple[bytes, ...]:
        """One for each key of the ring, that of the primary key first."""
        return tuple(_signature(key, message) for key in self._derived[purpose])

    def verifies(self, purpose: Purpose, message: bytes, signature: bytes) -> bool:
        """Whether any key of the ring made this signature for this purpose; compared in constant time."""
        return any(hmac.compare_digest(_signature(key, message), signature) for key in self._derived[purpose])


def _signature(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")[:SIGNATURE_BYTES]


def _derive(key: bytes, purpose: str) -> bytes:
    """RFC 5869: a value made for one purpose is never accepted for another."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"tertulia/{purpose}".encode()).derive(key)


def open_keyring(configured: str | None, data_folder: Path) -> KeyRing:
    """Read the ring, or make one in the data folder. Raises SettingsError when it cannot be used."""
    if configured:
        return _parse(configured, "TERTULIA_SECRET_KEYS")
    path = data_folder / "secret_keys"
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by others. Run: chmod 600 {path}")
    return _parse(path.read_text(), str(path))


def _create(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _parse(text: str, where: str) -> KeyRing:
    try:
        keys = tuple(base64.b64decode(part, validate=True) for part in text.replace(",", " ").split())
    except binascii.Error:
        keys = ()
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise SettingsError(f"{where} must hold keys of {KEY_BYTES} bytes in base64, separated by commas.")
    return KeyRing(keys)
