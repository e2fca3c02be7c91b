"""Check and keep the WAV files that MixMonitor leaves behind.

A file is worth keeping when Asterisk has closed it (its header and its size agree) and it holds sound. An
abandoned call leaves a bare header of 44 bytes; while a call lasts, the header still says nothing. Format:
RIFF/WAVE, PCM, as Asterisk's `wav` and `wav16` write it. Asterisk's own file is neither changed nor removed.
"""

import hashlib
import io
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from services.telephony.pbx.vault import Vault

# Loudest sample (of 32767) up to which a recording counts as silent; line noise stays below it (about -44
# dBFS).
SILENCE_PEAK: Final = 200

# Frames read at once: two seconds at 8 kHz.
_BLOCK_FRAMES: Final = 16_384


class UnfinishedError(Exception):
    """Asterisk is still writing the file: look again later."""


class RefusedError(Exception):
    """The file will never be a recording; the text says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Hold what is known of a finished recording.

    `peak` is the loudest sample, 0 to 32767; `sha256` is in hex, over the whole file.
    """

    duration_s: float
    size_bytes: int
    sha256: str
    peak: int

    @property
    def silent(self) -> bool:
        """Tell whether nothing louder than line noise is on it."""
        return self.peak <= SILENCE_PEAK


def check(file: io.BufferedReader | io.BytesIO) -> Recording:
    """Read a recording through and describe it; `file` is seekable and stands anywhere.

    Raises UnfinishedError while it is shorter or longer than its header says; RefusedError when it is
    closed but holds no sound at all (44 bytes), or is no 16-bit PCM WAV. Just after a hang-up a bare header
    may still be waiting for its sound.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12:
        raise UnfinishedError("no header yet")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise RefusedError("not a RIFF/WAVE file")
    promised = int.from_bytes(head[4:8], "little") + 8
    # A closed file of an odd length may lack its pad byte.
    if not promised - 1 <= size <= promised:
        raise UnfinishedError(f"the header says {promised} bytes, the file has {size}")
    file.seek(0)
    try:
        with wave.open(file) as sound:
            frames, rate, peak = sound.getnframes(), sound.getframerate(), 0
            if sound.getsampwidth() != 2:
                raise RefusedError(f"{sound.getsampwidth() * 8}-bit samples")
            while block := sound.readframes(_BLOCK_FRAMES):
                samples = array("h", block)
                peak = max((peak, max(samples), -min(samples)))
    except (wave.Error, EOFError, ValueError) as error:
        raise RefusedError(f"unreadable: {error}") from error
    if frames == 0 or rate == 0:
        raise RefusedError("no sound: a bare header")
    file.seek(0)
    return Recording(
        duration_s=frames / rate,
        size_bytes=size,
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        peak=min(peak, 32767),
    )


def locate(path: str, folder: Path) -> Path:
    """Return where a recording that Asterisk wrote at `path` can be read below `folder`.

    A PBX on another machine writes to a folder of another name: then only the file's own name counts.
    """
    written = PurePosixPath(path)
    if written.is_relative_to(folder) and ".." not in written.parts:
        return Path(written)
    return folder / written.name


def keep(source: Path, vault: Vault, key: str) -> Recording:
    """Check a finished recording and copy it into the vault; the same key again overwrites it.

    Raises UnfinishedError (also while it is missing) and RefusedError as `check` does; VaultDownError when it
    cannot be written. The copy's bytes are the ones that were checked.
    """
    try:
        with source.open("rb") as file:
            found = check(file)
        same = vault.put(source, key, found.sha256)
    except FileNotFoundError as error:
        raise UnfinishedError("no such file") from error
    if not same:
        raise UnfinishedError("it changed while it was copied")
    return found
