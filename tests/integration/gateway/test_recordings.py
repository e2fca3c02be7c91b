"""Playback over a real server: whole files and ranges, as an audio element asks for them."""

from collections.abc import Iterator

import httpx
import pytest
from crm.telephony.v1 import telephony_pb2 as telephony

from services.chassis.errors import InvalidInput, NotFound, Unavailable
from services.chassis.tokens import Caller
from tests.integration.gateway.conftest import Script

SignedIn = tuple[httpx.Client, Caller]
FILE = bytes(range(256)) * 40
URL = "/api/v1/calls/018f0000-0000-7000-8000-000000000009/recording"


@pytest.fixture
def player(signed_in: SignedIn, script: Script) -> httpx.Client:
    """A client that may play; every call has the same file."""

    def answer(request: telephony.GetRecordingRequest) -> Iterator[telephony.GetRecordingResponse]:
        if request.offset_bytes >= len(FILE):
            raise InvalidInput(
                "offset_bytes",
                "OFFSET_OUT_OF_RANGE",
                "只有 {total} 字节",
                "Only {total} bytes",
                total=len(FILE),
            )
        end = request.offset_bytes + request.length_bytes if request.length_bytes else len(FILE)
        wanted = FILE[request.offset_bytes : end]
        yield telephony.GetRecordingResponse(total_bytes=len(FILE), chunk=wanted[:1000])
        for start in range(1000, len(wanted), 1000):
            yield telephony.GetRecordingResponse(chunk=wanted[start : start + 1000])

    script.answers["telephony.GetRecording"] = answer
    return signed_in[0]


def test_a_recording_is_played_whole(player: httpx.Client) -> None:
    answer = player.get(URL)
    assert answer.status_code == 200
    assert answer.content == FILE
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(FILE))
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-", 0, len(FILE) - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=100-4999", 100, 4999),
        ("bytes=10000-999999", 10000, len(FILE) - 1),
        ("bytes=-500", len(FILE) - 500, len(FILE) - 1),
        ("bytes=-999999", 0, len(FILE) - 1),
    ],
)
def test_a_range_is_played_from_where_it_begins(
    player: httpx.Client, wanted: str, first: int, last: int
) -> None:
    answer = player.get(URL, headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(FILE)}"
    assert answer.content == FILE[first : last + 1]


@pytest.mark.parametrize("wanted", [f"bytes={len(FILE)}-", "bytes=999999-1000000", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(player: httpx.Client, wanted: str) -> None:
    answer = player.get(URL, headers={"range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(FILE)}"


@pytest.mark.parametrize("wanted", ["bytes=9-1", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"])
def test_a_range_that_is_not_understood_is_as_none(player: httpx.Client, wanted: str) -> None:
    """RFC 9110, 14.2."""
    answer = player.get(URL, headers={"range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(FILE))


def test_a_head_request_says_the_size_only(player: httpx.Client) -> None:
    answer = player.head(URL)
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (
        200,
        str(len(FILE)),
        b"",
    )


def test_a_call_without_a_recording_is_not_found(player: httpx.Client, script: Script) -> None:
    script.refuse("telephony.GetRecording", NotFound("RECORDING_NOT_FOUND", "没有录音", "No recording"))
    answer = player.get(URL)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "RECORDING_NOT_FOUND")


def test_a_stranger_hears_nothing(player: httpx.Client, script: Script) -> None:
    answer = player.get(URL, headers={"authorization": "Bearer x.y"})
    assert answer.status_code == 401
    assert script.asked("telephony.GetRecording") == []


def test_a_recording_that_breaks_off_is_never_taken_for_whole(player: httpx.Client, script: Script) -> None:
    def answer(_request: telephony.GetRecordingRequest) -> Iterator[telephony.GetRecordingResponse]:
        yield telephony.GetRecordingResponse(total_bytes=len(FILE), chunk=FILE[:1000])
        raise Unavailable("STORE_AWAY", "存储暂不可用", "The store is away")

    script.answers["telephony.GetRecording"] = answer
    with pytest.raises(httpx.RemoteProtocolError):
        player.get(URL)
    assert player.get("/healthz").status_code == 200
