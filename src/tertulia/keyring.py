"""The ring of secret keys: derive one key for each purpose, sign messages, and seal values.

The ring is stored outside the database and its backups: in `TERTULIA_SECRET_KEYS`, or in `secret_keys` in the data
folder (mode 0600, created at the first start). The first key is the primary one. The others open what they sealed.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tertulia.errors import SettingsError, Unavailable

Purpose = Literal["cursor", "device", "idempotency", "secrets"]
KEY_BYTES = 32
SIGNATURE_BYTES = 16
NONCE_BYTES = 12
SEAL_VERSION = "1"
log = logging.getLogger(__name__)


class UnknownKey(Unavailable):
    """A stored value was sealed with a key that this process's ring does not have."""

    code = "secret_key_unknown"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"The database has secrets sealed with the key {key_id}, which is not in the key ring. The operator can "
            "restore the earlier ring (TERTULIA_SECRET_KEYS, or secret_keys in the data folder), or restart this "
            "server after a rotation."
        )


class SealBroken(Unavailable):
    """A sealed value was changed, or belongs to another row. It cannot be opened."""

    code = "secret_broken"

    def __init__(self) -> None:
        super().__init__("This stored secret is damaged. Enter it again.")


@dataclass(frozen=True)
class SealedFor:
    """The place that a sealed value belongs to. A copy in another row cannot be opened."""

    table: str
    column: str
    row_id: str
    owner_id: str

    def associated_data(self) -> bytes:
        return "\x1f".join((self.table, self.column, self.row_id, self.owner_id)).encode()


class KeyRing:
    """Keys of 256 bits, the primary one first. There is no custom repr, so that no log can show a key."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._derived: dict[Purpose, list[bytes]] = {
            purpose: [_derive(key, purpose) for key in keys] for purpose in get_args(Purpose)
        }
        self.key_ids = tuple(_key_id(key) for key in keys)

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        return _signature(self._derived[purpose][0], message)

    def signatures(self, purpose: Purpose, message: bytes) -> tuple[bytes, ...]:
        """Return one signature for each key of the ring, the primary key's first."""
        return tuple(_signature(key, message) for key in self._derived[purpose])

    def verifies(self, purpose: Purpose, message: bytes, signature: bytes) -> bool:
        """Return whether any key of the ring made this signature for this purpose. Compares in constant time."""
        return any(hmac.compare_digest(_signature(key, message), signature) for key in self._derived[purpose])

    def seal(self, value: bytes, place: SealedFor) -> str:
        """Encrypt the value with a new data key, and that key with the primary key.

        Returns `version.key_id.wrapped data key.ciphertext`.
        """
        data_key = AESGCM.generate_key(256)
        body = _encrypt(data_key, value, place.associated_data())
        return ".".join((SEAL_VERSION, self.key_ids[0], _text(self._wrap(data_key, place)), _text(body)))

    def open(self, sealed: str, place: SealedFor) -> bytes:
        """Decrypt a sealed value. Raises UnknownKey, SealBroken."""
        data_key, body = self._unwrap(sealed, place)
        return _decrypt(data_key, body, place.associated_data())

    def rewrap(self, sealed: str, place: SealedFor) -> str:
        """Return the sealed value with its data key under the primary key. Raises UnknownKey, SealBroken."""
        data_key, body = self._unwrap(sealed, place)
        return ".".join((SEAL_VERSION, self.key_ids[0], _text(self._wrap(data_key, place)), _text(body)))

    def _wrap(self, data_key: bytes, place: SealedFor) -> bytes:
        return _encrypt(self._derived["secrets"][0], data_key, b"data key\x1f" + place.associated_data())

    def _unwrap(self, sealed: str, place: SealedFor) -> tuple[bytes, bytes]:
        parts = sealed.split(".")
        if len(parts) != 4 or parts[0] != SEAL_VERSION:
            raise SealBroken
        _, key_id, wrapped, body = parts
        if key_id not in self.key_ids:
            raise UnknownKey(key_id)
        key = self._derived["secrets"][self.key_ids.index(key_id)]
        data_key = _decrypt(key, _bytes(wrapped), b"data key\x1f" + place.associated_data())
        return data_key, _bytes(body)


def key_id_of(sealed: str) -> str:
    """Return the id of the key that a sealed value needs."""
    return sealed.split(".", 2)[1]


def _encrypt(key: bytes, value: bytes, associated: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, associated)


def _decrypt(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise SealBroken from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise SealBroken from error


def _key_id(key: bytes) -> str:
    """Return an id for a key that reveals nothing about it."""
    return hashlib.sha256(b"tertulia/key-id\x1f" + key).hexdigest()[:12]


def _signature(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")[:SIGNATURE_BYTES]


def _derive(key: bytes, purpose: str) -> bytes:
    """Derive a key (RFC 5869), so that a value made for one purpose is never accepted for another."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"tertulia/{purpose}".encode()).derive(key)


def find_keyring(configured: str | None, data_folder: Path) -> KeyRing | None:
    """Read the ring, or return None if there is none yet. Raises SettingsError if it cannot be used."""
    if configured:
        return KeyRing(_parse(configured, "TERTULIA_SECRET_KEYS"))
    path = ring_path(data_folder)
    if not path.exists():
        return None
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by others. Run: chmod 600 {path}")
    return KeyRing(_parse(path.read_text(), str(path)))


def open_keyring(configured: str | None, data_folder: Path) -> KeyRing:
    """Read the ring, or create one in the data folder. Raises SettingsError if it cannot be used."""
    ring = find_keyring(configured, data_folder)
    if ring is not None:
        return ring
    try:
        _write(ring_path(data_folder), (secrets.token_bytes(KEY_BYTES),), is_new=True)
    except FileExistsError:
        log.info("another process created the key ring first; using it")
    ring = find_keyring(None, data_folder)
    assert ring is not None
    return ring


def ring_path(data_folder: Path) -> Path:
    return data_folder / "secret_keys"


def add_primary_key(path: Path) -> KeyRing:
    """Put a new key first in a ring's file. The old keys stay and open what they sealed."""
    keys = (secrets.token_bytes(KEY_BYTES), *_parse(path.read_text(), str(path)))
    _write(path, keys)
    return KeyRing(keys)


def keep_only_primary(path: Path) -> KeyRing:
    """Remove the old keys. The caller checks that nothing is sealed with them any more."""
    keys = _parse(path.read_text(), str(path))[:1]
    _write(path, keys)
    return KeyRing(keys)


def _write(path: Path, keys: tuple[bytes, ...], *, is_new: bool = False) -> None:
    """Write the file atomically and sync it to disk. With `is_new`, raises FileExistsError if the file exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(base64.b64encode(key).decode() + "\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    try:
        if is_new:
            os.link(partial, path)
        else:
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parse(text: str, where: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(base64.b64decode(part, validate=True) for part in text.replace(",", " ").split())
    except binascii.Error:
        keys = ()
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise SettingsError(f"{where} must hold keys of {KEY_BYTES} bytes in base64, separated by commas.")
    return keys
