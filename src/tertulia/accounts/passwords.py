"""Passwords: argon2id, two at a time, and the same time for a name that does not exist."""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tertulia.accounts.errors import WeakPassword

MIN_LENGTH, MAX_LENGTH = 12, 256
# 19 MiB, 2 passes, 1 lane: the first of OWASP's recommended settings for argon2id.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(2, thread_name_prefix="password")


@cache
def _dummy_hash() -> str:
    return _hasher.hash("nobody has this password")


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Takes as long for a user without a password, or for nobody, as for one with."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _matches, password, password_hash)


def _matches(password: str, password_hash: str | None) -> bool:
    try:
        _hasher.verify(password_hash or _dummy_hash(), password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def check_password(password: str, *, names: tuple[str, ...], field: str = "password") -> None:
    """Refuse what is guessed first. Raises WeakPassword with what to do."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(field, f"Use {MIN_LENGTH} to {MAX_LENGTH} characters. A few words in a row are good.")
    key = unicodedata.normalize("NFKC", password).casefold()
    if key in _common_passwords():
        raise WeakPassword(field, "This is one of the most common passwords. Choose another.")
    if any(name and unicodedata.normalize("NFKC", name).casefold() == key for name in names):
        raise WeakPassword(field, "Your password must not be your own name or address.")


@cache
def _common_passwords() -> frozenset[str]:
    """Of the 10,000 commonest passwords those of 12 characters and more; shorter ones are refused anyway."""
    return frozenset(resources.files(__package__).joinpath("common_passwords.txt").read_text("utf-8").split("\n"))
