"""Where recordings are kept: a folder, or a bucket of an S3-compatible store, by one URL through fsspec.

Guarantees: what has a key is whole, with the very bytes that were checked. A folder has a file under its name only
when the disk has all of it; an object store shows an object only when it is complete. Lost when the process dies: what
was half written; it is written again under the same key.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Bytes that are read, and told, at once.
PIECE_BYTES: Final = 64 * 1024
# How a store on the network is spoken to: seconds for the connection and for each answer. Two tries, as what fails is
# tried again a minute later anyway.
_NETWORK: Final = {
    "use_listings_cache": False,
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}},
}
# What a URL may begin with; a plain path is a folder, too.
SCHEMES: Final = frozenset({"", "file", "s3"})


class VaultDownError(Exception):
    """The place where recordings are kept neither takes nor gives any: try again later."""


class Vault:
    """Keep files by their keys, such as `<tenant>/2026/11/30/<id>.wav`.

    url: a path, file:///path or s3://bucket/prefix; the latter's address and keys are in the usual variables
    (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). Nothing is asked of the place yet. Raises ValueError
    for another scheme, ImportError when the client for S3 is not installed.
    """

    def __init__(self, url: str) -> None:
        # Who keeps no recordings needs none of it.
        from fsspec.core import url_to_fs

        scheme = urlsplit(url).scheme
        if scheme not in SCHEMES:
            raise ValueError(f"recordings cannot be kept at {url!r}")
        self._is_folder = scheme != "s3"
        if scheme == "file":
            url = unquote(urlsplit(url).path)
        self._files: AbstractFileSystem
        self._root: str
        self._files, self._root = url_to_fs(url, **({"auto_mkdir": True} if self._is_folder else _NETWORK))

    def put(self, source: Path, key: str, sha256: str) -> bool:
        """Copy a file; the same key again overwrites it. Tell whether the copy has the bytes of this hash, in hex.

        Raises FileNotFoundError when the source is gone, VaultDownError.
        """
        target = f"{self._root}/{key}"
        draft = f"{target}.partial" if self._is_folder else target
        with source.open("rb") as file:
            try:
                with self._files.open(draft, "wb") as copy:
                    shutil.copyfileobj(file, copy)
                    if self._is_folder:
                        copy.flush()
                        os.fsync(copy.fileno())
                with self._files.open(draft, "rb") as copied:
                    same = hashlib.file_digest(copied, "sha256").hexdigest() == sha256
                if same and draft != target:
                    self._files.mv(draft, target)
            except Exception as error:
                # Each client has errors of its own.
                raise VaultDownError(f"{type(error).__name__}: {error}") from error
        return same

    def holds(self, key: str) -> bool:
        """Tell whether there is a file under this key; raises VaultDownError."""
        try:
            return bool(self._files.isfile(f"{self._root}/{key}"))
        except Exception as error:
            raise VaultDownError(f"{type(error).__name__}: {error}") from error

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """Yield a file's bytes from an offset on, piece by piece; raises FileNotFoundError, VaultDownError."""
        try:
            with self._files.open(f"{self._root}/{key}", "rb", block_size=PIECE_BYTES) as file:
                file.seek(offset)
                while length and (piece := file.read(min(PIECE_BYTES, length))):
                    length -= len(piece)
                    yield piece
        except FileNotFoundError:
            raise
        except Exception as error:
            raise VaultDownError(f"{type(error).__name__}: {error}") from error
