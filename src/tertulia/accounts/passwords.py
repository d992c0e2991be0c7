"""Hash and verify passwords with argon2id, two at a time, and equally slowly for unknown users."""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tertulia.accounts.errors import WeakPassword

MIN_LENGTH, MAX_LENGTH = 12, 256
ESTIMATED_LENGTH = 72
MIN_SCORE = 3  # of 4: it takes more than 10^8 guesses
# 19 MiB, 2 passes, 1 lane: the first of OWASP's recommended settings for argon2id.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(2, thread_name_prefix="password")


@cache
def _dummy_hash() -> str:
    return _hasher.hash("no user has this password")


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """Compare a password with its hash. Without a hash it takes equally long, so that users cannot be probed."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _matches, password, password_hash)


def _matches(password: str, password_hash: str | None) -> bool:
    try:
        _hasher.verify(password_hash or _dummy_hash(), password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def check_password(password: str, *, names: tuple[str, ...], field: str = "password") -> None:
    """Refuse passwords that are easy to guess. Raises WeakPassword with advice."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(field, f"Use {MIN_LENGTH} to {MAX_LENGTH} characters. A few words in a row work well.")
    key = unicodedata.normalize("NFKC", password).casefold()
    if any(name and unicodedata.normalize("NFKC", name).casefold() == key for name in names):
        raise WeakPassword(field, "Your password must not be your name or e-mail address.")
    if _score(password, names) < MIN_SCORE:
        raise WeakPassword(field, "This password is easy to guess. Use a few unrelated words, or a longer random one.")


def _score(password: str, names: tuple[str, ...]) -> int:
    """Estimate how hard a password is to guess, 0 to 4, with common passwords, names, words, dates and patterns known."""
    from zxcvbn import zxcvbn  # its word lists take a moment to load, and few processes need them

    # A longer password is at least as hard to guess as its beginning, and the estimate takes quadratic time.
    score: int = zxcvbn(password[:ESTIMATED_LENGTH], user_inputs=[name for name in names if name])["score"]
    return score
