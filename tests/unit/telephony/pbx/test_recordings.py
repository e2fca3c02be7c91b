"""The check of finished recordings."""

import hashlib
import io
import math
import wave
from array import array

import pytest

from services.telephony.pbx.recordings import RefusedError, UnfinishedError, check


def wav(samples: "array[int]", width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(width)
        sound.setframerate(8000)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


TONE = array("h", (round(9000 * math.sin(number / 3)) for number in range(20_000)))


def test_a_finished_recording_is_described() -> None:
    """F219."""
    content = wav(TONE)
    found = check(io.BytesIO(content))
    assert found.duration_s == 2.5
    assert found.size_bytes == len(content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert 8900 < found.peak <= 9000
    assert not found.silent


def test_a_recording_of_line_noise_is_silent() -> None:
    assert check(io.BytesIO(wav(array("h", [3, -120, 90] * 1000)))).silent


def test_the_loudest_negative_sample_stays_in_range() -> None:
    assert check(io.BytesIO(wav(array("h", [-32768])))).peak == 32767


def test_the_bare_header_of_an_abandoned_call_is_refused() -> None:
    content = wav(array("h"))
    assert len(content) == 44
    with pytest.raises(RefusedError, match="bare header"):
        check(io.BytesIO(content))


@pytest.mark.parametrize("length", [0, 11, 44, 1000, 40_042])
def test_a_recording_that_is_still_written_is_unfinished(length: int) -> None:
    with pytest.raises(UnfinishedError):
        check(io.BytesIO(wav(TONE)[:length]))


def test_a_header_that_was_not_yet_updated_is_unfinished() -> None:
    """While Asterisk writes, the header still tells of no sound."""
    with pytest.raises(UnfinishedError):
        check(io.BytesIO(wav(array("h")) + TONE.tobytes()))


@pytest.mark.parametrize(
    "content",
    [
        b"ID3\x04" + bytes(100),
        wav(array("h", [1, 2, 3, 4]), width=1),
        b"RIFF\x24\x00\x00\x00WAVE" + bytes(32),
        wav(TONE)[:20] + b"\x02" + wav(TONE)[21:],
    ],
    ids=["not riff", "8 bit", "no chunks", "not pcm"],
)
def test_what_is_no_pcm_wav_is_refused(content: bytes) -> None:
    with pytest.raises(RefusedError):
        check(io.BytesIO(content))
