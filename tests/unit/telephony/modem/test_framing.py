"""Bytes to lines, however they are cut up."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from services.telephony.modem.framing import PROMPT, Framer, Line

REPORT = "0891683108100005F006010D91683108108300F0621112912515236211129125152300"
STREAM = (
    b"AT+CMGL=4\r\r\n+CMGL: 1,0,,27\r\n038121F3100D91683108108300F001116211129174800408E8329BFD065189\r\n"
    b'\r\n+CMTI: "SM",2\r\n\r\n+CDS: 26\r\n' + REPORT.encode() + b"\r\n"
    b"\r\nOK\r\n\r\n+CMS ERROR: 38\r\n> \r\n+CREG: 1\r\n"
)
LINES = [
    Line("AT+CMGL=4"),
    Line("+CMGL: 1,0,,27", "038121F3100D91683108108300F001116211129174800408E8329BFD065189"),
    Line('+CMTI: "SM",2'),
    Line("+CDS: 26", REPORT),
    Line("OK"),
    Line("+CMS ERROR: 38"),
    Line(">"),
    Line("+CREG: 1"),
]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_lines_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """A report and its PDU stay together, and `>` is no prompt where none is expected."""
    framer, lines = Framer(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        lines += framer.feed(STREAM[start:end])
    assert lines == LINES


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=30), st.booleans())
def test_noise_never_stops_the_framing(noise: list[bytes], prompt_expected: bool) -> None:
    """After any noise and a line end, the next line is read."""
    framer = Framer()
    framer.prompt_expected = prompt_expected
    for data in noise:
        framer.feed(data)
    framer.prompt_expected = False
    assert framer.feed(b"\r\nOK\r\n")[-1] == Line("OK")


def test_a_prompt_is_seen_once_where_one_is_expected() -> None:
    """It has no line end; what follows it is text again."""
    framer = Framer()
    framer.prompt_expected = True
    assert framer.feed(b"\r\n+CREG: 1\r\n\r\n> ") == [Line("+CREG: 1"), PROMPT]
    assert framer.feed(b"> 0011\r\n") == [Line("> 0011")]


def test_a_header_whose_pdu_does_not_follow_is_a_line_of_its_own() -> None:
    """As +CMGR of an empty place answers."""
    assert Framer().feed(b"+CMGR: 0,,0\r\n\r\nOK\r\n") == [Line("+CMGR: 0,,0"), Line("OK")]


def test_a_line_without_an_end_is_given_up() -> None:
    """Noise at the wrong baud rate must not fill the memory."""
    framer = Framer()
    for _ in range(100):
        framer.feed(b"\xff" * 100)
    assert framer.feed(b"\r\nOK\r\n")[-1] == Line("OK")
