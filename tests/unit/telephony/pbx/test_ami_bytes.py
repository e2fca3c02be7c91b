"""From bytes to AMI events: nothing may depend on where TCP cuts the stream."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.telephony.pbx.ami import LONGEST_MESSAGE, Connection
from tests.unit.telephony.pbx.transcripts import raw

EVENT = "Event: Newchannel\r\nCallerIDName: 张三\r\nChanVariable: A=1\r\nChanVariable: B=李四 🀄\r\n\r\n"


class Wire(asyncio.Transport):
    """Take what a protocol writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        """Nothing is open."""


def parse(*chunks: bytes) -> list[dict[str, object]]:
    """Return the events that a connection makes of these TCP segments."""
    found: list[dict[str, object]] = []

    async def run() -> None:
        connection = Connection(lambda event: found.append(dict(event)))
        protocol = connection.protocol()
        protocol.connection_made(Wire())
        for chunk in chunks:
            protocol.data_received(chunk)

    asyncio.run(run())
    return found


def test_a_cut_at_any_byte_loses_no_character() -> None:
    """UTF-8 split across TCP segments: 张三 must not become 三."""
    stream = ("Asterisk Call Manager/11.0.0\r\n" + EVENT).encode()
    whole = parse(stream)
    assert whole[0]["CallerIDName"] == "张三"
    assert whole[0]["ChanVariable"] == ["A=1", "B=李四 🀄"]
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == whole
    assert parse(*(stream[place : place + 1] for place in range(len(stream)))) == whole


def test_bytes_that_are_no_utf8_lose_only_themselves() -> None:
    (event,) = parse(EVENT.encode().replace("三".encode(), b"\xff"))
    assert event["CallerIDName"] == "张\ufffd"


@pytest.mark.parametrize("name", ["queue-call", "local-queue", "originate"])
def test_a_transcript_cut_anywhere_tells_the_same(name: str) -> None:
    stream = raw(name)
    whole = parse(stream)
    assert len(whole) > 30

    @settings(max_examples=20)
    @given(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    def cut(places: list[int]) -> None:
        edges = [0, *places, len(stream)]
        assert parse(*(stream[a:b] for a, b in pairwise(edges))) == whole

    cut()


# What messages are made of, and what has no place in them.
PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\r\n\r\n", b"\n", b": ", b"Event", b"Response", b"ActionID", b"Message", b"Output"),
        *(
            b"Asterisk Call Manager/",
            b"Newchannel",
            b"Shutdown",
            b"Follows",
            b"Success",
            b"Result",
            b"%zz",
            b"\xe5\xbc",
        ),
        *(
            b"Event: ",
            b"ActionID: 1\r\n",
            b"Response: Follows\r\n",
            b"Event: Hangup\r\n",
            b"EventList: start\r\n",
        ),
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=60))
def test_whatever_comes_the_parser_neither_raises_nor_loses_what_follows(chunks: list[bytes]) -> None:
    """Fuzz of the parser: a PBX that sends nonsense costs that nonsense."""
    found = parse(*chunks, b"\r\n\r\n", EVENT.encode())
    assert found[-1]["CallerIDName"] == "张三"


def test_a_message_that_never_ends_costs_the_link_and_not_the_memory() -> None:
    """The parser never grows without bound."""

    async def run() -> tuple[int, str]:
        connection = Connection(lambda event: None)
        protocol = connection.protocol()
        protocol.connection_made(Wire())
        longest = 0
        while not connection.lost.done():
            protocol.data_received(b"Event: " + b"x" * 65_536)
            longest = max(longest, len(protocol.rest))
        return longest, connection.lost.result()

    longest, why = asyncio.run(run())
    assert (longest <= LONGEST_MESSAGE, why) == (True, "a message without an end")
