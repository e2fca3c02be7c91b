"""Cut a modem's byte stream into lines and prompts.

Guarantees that a prompt is seen only where one is expected, and that a header which announces a PDU comes
together with its PDU, however the bytes were cut up on the way. Line noise is given up after 4 KiB without a
line end.
"""

import re
from dataclasses import dataclass

# The longest line that a modem sends is a PDU: 176 octets in hex.
_MAX_LINE_BYTES = 4096
# What announces that the next line is a PDU (TS 27.005 3.4.1-3.4.3, 4.1).
_PDU_HEADER = re.compile(r"\+(CMT|CDS|CMGL|CMGR): ?")
_PDU = re.compile(r"([0-9A-Fa-f]{2})+")


@dataclass(frozen=True)
class Line:
    """Hold one line without its end, and the PDU in hex that it announced."""

    text: str
    pdu: str = ""


# Stands for the `> ` after which a modem takes a PDU; no line ends in a blank.
PROMPT = Line("> ")


class Framer:
    """Collect bytes and hand out whole lines."""

    def __init__(self) -> None:
        # Set it just before AT+CMGS is written; it goes out with the prompt. Elsewhere `>` is text like any
        # other.
        self.prompt_expected = False
        self._buffer = b""
        self._header: str | None = None

    def feed(self, data: bytes) -> list[Line]:
        """Take what was read and return what is complete, in order; PROMPT stands for a prompt."""
        self._buffer += data
        lines: list[Line] = []
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n \0")
            if self.prompt_expected and self._buffer.startswith(b">"):
                self.prompt_expected = False
                self._buffer = self._buffer[1:]
                lines += [*self._flush(), PROMPT]
                continue
            end = re.search(rb"[\r\n]", self._buffer)
            if end is None:
                break
            # Control-Z comes back where the modem echoes a PDU.
            lines += self._join(self._buffer[: end.start()].decode("latin-1").strip(" \0\x1a"))
            self._buffer = self._buffer[end.end() :]
        if len(self._buffer) > _MAX_LINE_BYTES:
            self._buffer = b""
        return lines

    def _join(self, text: str) -> list[Line]:
        if self._header is not None and _PDU.fullmatch(text):
            header, self._header = self._header, None
            return [Line(header, text)]
        lines = self._flush()
        if _PDU_HEADER.match(text):
            self._header = text
        elif text:
            lines.append(Line(text))
        return lines

    def _flush(self) -> list[Line]:
        """Give out a header whose PDU did not follow."""
        header, self._header = self._header, None
        return [] if header is None else [Line(header)]
