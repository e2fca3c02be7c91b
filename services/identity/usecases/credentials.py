"""Passwords and secrets: hashed so that whoever reads the tables can neither sign in nor guess well."""

import functools
import hashlib
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# Argon2id, 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet): sixteen sign-ins at once fit a
# small machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Random bytes of a session's secret.
SECRET_BYTES = 32


def hash_password(password: str) -> str:
    """Return a password's Argon2id hash with its salt and parameters; takes some 30 ms on purpose."""
    return _HASHER.hash(password)


@functools.cache
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe(SECRET_BYTES))


def password_matches(password: str, password_hash: str | None) -> bool:
    """Return whether the password is the one; without a hash it takes as long and is false."""
    try:
        return _HASHER.verify(password_hash or _nobodys_hash(), password) and password_hash is not None
    except VerifyMismatchError:
        return False


def new_secret(database: str) -> str:
    """Return a fresh session secret; it begins with the name of the database that holds the session."""
    return f"{database}.{secrets.token_urlsafe(SECRET_BYTES)}"


def database_of(secret: str) -> str:
    """Return the database that a secret names, "" for what is no secret."""
    database, dot, _ = secret.partition(".")
    return database if dot else ""


def secret_hash(secret: str) -> bytes:
    """Return what is stored of a secret; a fast hash is enough for 32 random bytes."""
    return hashlib.sha256(secret.encode()).digest()
