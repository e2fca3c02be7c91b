"""Turn texts into SMS PDUs and PDUs back into what they say.

Sources: 3GPP TS 23.040 (the TPDUs), TS 23.038 (alphabets, data coding), TS 27.005 (hex with the service
centre's address in front). Pure: no I/O, no clock. A text is cut into segments by `split`; no cut falls
inside a surrogate pair or a GSM-7 escape sequence. What a sender's phone split wrongly, or a time that a
modem garbles, is read as U+FFFD or None and never makes a message unreadable; a PDU too short for its own
lengths raises `PduError`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Self

# GSM 7-bit default alphabet, its extension table's escape at 0x1B (TS 23.038 6.2.1).
_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPE = 0x1B
# Extension table (TS 23.038 6.2.1.1).
_EXTENSION = dict(
    zip((0x0A, 0x14, 0x28, 0x29, 0x2F, 0x3C, 0x3D, 0x3E, 0x40, 0x65), "\f^{}\\[~]|€", strict=True)
)
_SEPTETS = {char: (code,) for code, char in enumerate(_BASIC) if code != _ESCAPE} | {
    char: (_ESCAPE, code) for code, char in _EXTENSION.items()
}

# TP-UD holds 140 octets (TS 23.040 9.2.3.24).
_USER_DATA_OCTETS = 140
# A message has at most 255 segments (TS 23.040 9.2.3.24.1).
_MAX_PARTS = 255
# TP-Destination-Address holds at most 20 digits (TS 23.040 9.1.2.5).
_NUMBER = re.compile(r"\+?[0-9*#]{1,20}")
_NUMBER_DIGITS = "0123456789*#abc"

# First octet (TS 23.040 9.2.3.1-9.2.3.23).
_MTI_MASK, _MTI_DELIVER, _MTI_SUBMIT, _MTI_STATUS_REPORT = 0x03, 0x00, 0x01, 0x02
_VPF_MASK, _VPF_RELATIVE = 0x18, 0x10
_STATUS_REPORT_REQUEST = 0x20
_HEADER_PRESENT = 0x40

# Type-of-address (TS 23.040 9.1.2.5).
_INTERNATIONAL, _NATIONAL_OR_SHORT = 0x91, 0x81
_TON_INTERNATIONAL, _TON_ALPHANUMERIC = 1, 5


class PduError(ValueError):
    """Say why a text cannot be sent or a PDU cannot be read."""


class Encoding(Enum):
    """Name how a segment's text is coded (TS 23.038 4)."""

    GSM7 = "gsm7"
    UCS2 = "ucs2"
    # Data, not text (WAP push, ring tones): only ever received; the text is its hex.
    OCTETS = "octets"


@dataclass(frozen=True)
class Concat:
    """Place a segment in its message (TS 23.040 9.2.3.24.1 and .8).

    part: from 1. wide: the reference has 16 bits instead of 8.
    """

    reference: int
    part: int
    parts: int
    wide: bool = False

    def header(self) -> bytes:
        """Return the user data header that says so."""
        references = 0x10000 if self.wide else 0x100
        if not (1 <= self.part <= self.parts <= _MAX_PARTS and 0 <= self.reference < references):
            raise PduError(f"no such segment: {self}")
        if self.wide:
            return bytes((6, 0x08, 4)) + self.reference.to_bytes(2) + bytes((self.parts, self.part))
        return bytes((5, 0x00, 3, self.reference, self.parts, self.part))


@dataclass(frozen=True)
class Split:
    """Hold a text cut into segments: parts that join to the text, and the encoding of them all."""

    encoding: Encoding
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Submit:
    """Hold an SMS-SUBMIT (TS 23.040 9.2.2.2).

    number: E.164 with its plus, or digits, * and # for a short code. validity_s: rounded up to what TP-VP can
    say, None leaves it to the service centre. report: ask for a delivery report. reference: TP-MR, which
    modems overwrite.
    """

    number: str
    text: str
    encoding: Encoding
    concat: Concat | None = None
    validity_s: int | None = None
    report: bool = True
    reference: int = 0

    def encode(self) -> tuple[str, int]:
        """Return the hex to send through the SIM's own service centre, and the octets to announce in AT+CMGS.

        Raises PduError for a number or text that no SMS can carry.
        """
        header = self.concat.header() if self.concat else b""
        tpdu = bytes(
            (
                _MTI_SUBMIT
                | (_VPF_RELATIVE if self.validity_s is not None else 0)
                | (_STATUS_REPORT_REQUEST if self.report else 0)
                | (_HEADER_PRESENT if header else 0),
                self.reference,
            )
        )
        tpdu += _encode_number(self.number) + bytes((0, 0x08 if self.encoding is Encoding.UCS2 else 0x00))
        if self.validity_s is not None:
            tpdu += bytes((_encode_validity(self.validity_s),))
        tpdu += _encode_user_data(self.text, self.encoding, header)
        return "00" + tpdu.hex().upper(), len(tpdu)

    @classmethod
    def decode(cls, pdu: str) -> Self:
        """Read the hex that `encode` writes; PduError for other validity formats than none and relative."""
        octets = _Octets.of_hex(pdu)
        octets.take(octets.byte())
        first = octets.byte()
        if first & _MTI_MASK != _MTI_SUBMIT or first & _VPF_MASK not in (0, _VPF_RELATIVE):
            raise PduError(f"not an SMS-SUBMIT of ours: first octet {first:02X}")
        reference, number = octets.byte(), octets.address()
        octets.byte()
        coding = octets.byte()
        validity_s = _decode_validity(octets.byte()) if first & _VPF_MASK else None
        text, encoding, concat = octets.user_data(coding, bool(first & _HEADER_PRESENT))
        return cls(
            number, text, encoding, concat, validity_s, bool(first & _STATUS_REPORT_REQUEST), reference
        )


@dataclass(frozen=True)
class Deliver:
    """Hold an SMS-DELIVER (TS 23.040 9.2.2.1): a received segment; number may be an alphanumeric name."""

    number: str
    text: str
    encoding: Encoding
    concat: Concat | None
    sent_time: datetime | None


@dataclass(frozen=True)
class StatusReport:
    """Hold an SMS-STATUS-REPORT (TS 23.040 9.2.2.3).

    reference: TP-MR of the SUBMIT that it reports on. status: TP-ST.
    """

    reference: int
    number: str
    sent_time: datetime | None
    done_time: datetime | None
    status: int


def split(text: str, *, wide: bool = False) -> Split:
    """Cut a text into the segments it takes, in GSM-7 if it fits that alphabet, else in UCS2.

    wide: leave room for a 16-bit reference. Raises PduError if it takes more than 255, or has a lone
    surrogate.
    """
    encoding = Encoding.GSM7 if all(char in _SEPTETS for char in text) else Encoding.UCS2
    if _units(text, encoding) <= _capacity(encoding, 0):
        return Split(encoding, (text,))
    capacity = _capacity(encoding, 7 if wide else 6)
    parts, start, used = [], 0, 0
    for position, char in enumerate(text):
        units = _units(char, encoding)
        if used + units > capacity:
            parts.append(text[start:position])
            start, used = position, 0
        used += units
    parts.append(text[start:])
    if len(parts) > _MAX_PARTS:
        raise PduError(f"{len(parts)} segments, {_MAX_PARTS} at most")
    return Split(encoding, tuple(parts))


def decode_received(pdu: str, tpdu_octets: int) -> Deliver | StatusReport:
    """Read what +CMGL, +CMGR, +CMT or +CDS shows: hex, and the octets that the line before it announced.

    The length leaves out the service centre's address in front, which some modems leave out altogether (TS
    27.005 3.1). Raises PduError for anything else than a DELIVER or a STATUS-REPORT, and for a truncated one.
    """
    octets = _Octets.of_hex(pdu)
    octets.take(octets.remaining - tpdu_octets)
    first = octets.byte()
    if first & _MTI_MASK == _MTI_DELIVER:
        number = octets.address()
        octets.byte()
        coding, sent_time = octets.byte(), octets.timestamp()
        text, encoding, concat = octets.user_data(coding, bool(first & _HEADER_PRESENT))
        return Deliver(number, text, encoding, concat, sent_time)
    if first & _MTI_MASK == _MTI_STATUS_REPORT:
        return StatusReport(
            octets.byte(), octets.address(), octets.timestamp(), octets.timestamp(), octets.byte()
        )
    raise PduError(f"neither a message nor a report: first octet {first:02X}")


class _Octets:
    """Take a PDU apart from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @classmethod
    def of_hex(cls, text: str) -> Self:
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise PduError("not hex") from None

    @property
    def remaining(self) -> int:
        return len(self._data)

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data):
            raise PduError(f"{len(self._data)} octets left where {count} are announced")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def address(self) -> str:
        """Read an address field (TS 23.040 9.1.2.5)."""
        digits, kind = self.byte(), self.byte()
        value = self.take((digits + 1) // 2)
        ton = kind >> 4 & 7
        if ton == _TON_ALPHANUMERIC:
            return _from_septets(_unpack(value, digits * 4 // 7, 0))
        nibbles = [nibble for octet in value for nibble in (octet & 15, octet >> 4)][:digits]
        number = "".join(_NUMBER_DIGITS[nibble] for nibble in nibbles if nibble < len(_NUMBER_DIGITS))
        return "+" + number if ton == _TON_INTERNATIONAL else number

    def timestamp(self) -> datetime | None:
        """Read TP-SCTS or TP-DT (TS 23.040 9.2.3.11): swapped digits, the zone in quarters of an hour."""
        *fields, zone = self.take(7)
        try:
            year, month, day, hour, minute, second = (
                int(f"{octet & 15:X}{octet >> 4:X}") for octet in fields
            )
            quarters = int(f"{zone & 7:X}{zone >> 4:X}")
            offset = timezone(timedelta(minutes=15) * (-quarters if zone & 8 else quarters))
            return datetime(
                year + (2000 if year < 90 else 1900), month, day, hour, minute, second, tzinfo=offset
            )
        except ValueError:
            return None

    def user_data(self, coding: int, has_header: bool) -> tuple[str, Encoding, Concat | None]:
        """Read TP-UDL and TP-UD (TS 23.040 9.2.3.16 and .24) in the coding that TP-DCS says."""
        encoding, length = _encoding_of(coding), self.byte()
        data = self.take((length * 7 + 7) // 8 if encoding is Encoding.GSM7 else length)
        header = data[: data[0] + 1] if has_header and data else b""
        concat = _concat_of(header[1:])
        if encoding is Encoding.GSM7:
            skipped = _header_septets(header)
            septets = _unpack(data[len(header) :], max(length - skipped, 0), skipped * 7 - len(header) * 8)
            return _from_septets(septets), encoding, concat
        body = data[len(header) :]
        if encoding is Encoding.UCS2:
            return body.decode("utf-16-be", errors="replace"), encoding, concat
        return body.hex().upper(), encoding, concat


def _encoding_of(coding: int) -> Encoding:
    """Read TP-DCS (TS 23.038 4)."""
    if coding < 0x80:
        compressed = bool(coding & 0x20)
        alphabet = (Encoding.GSM7, Encoding.OCTETS, Encoding.UCS2, Encoding.GSM7)[coding >> 2 & 3]
        return Encoding.OCTETS if compressed else alphabet
    if coding >> 4 == 0b1110:
        return Encoding.UCS2
    return Encoding.OCTETS if coding >> 4 == 0b1111 and coding & 0x04 else Encoding.GSM7


def _concat_of(elements: bytes) -> Concat | None:
    """Find a segment's place among a header's information elements; a nonsense one counts as none."""
    while len(elements) >= 2:
        kind, length = elements[:2]
        value, elements = elements[2 : 2 + length], elements[2 + length :]
        if (kind, length, len(value)) in ((0x00, 3, 3), (0x08, 4, 4)):
            reference, parts, part = int.from_bytes(value[:-2]), value[-2], value[-1]
            if 1 <= part <= parts:
                return Concat(reference, part, parts, wide=kind == 0x08)
    return None


def _encode_number(number: str) -> bytes:
    if not _NUMBER.fullmatch(number):
        raise PduError("not a number that an SMS can be sent to")
    digits = number.removeprefix("+")
    nibbles = [_NUMBER_DIGITS.index(digit) for digit in digits] + [0xF] * (len(digits) % 2)
    octets = bytes(high << 4 | low for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return bytes((len(digits), _INTERNATIONAL if number[0] == "+" else _NATIONAL_OR_SHORT)) + octets


def _encode_validity(validity_s: int) -> int:
    """Return the smallest relative TP-VP that covers it (TS 23.040 9.2.3.12.1), 63 weeks at most."""
    return next((octet for octet in range(256) if _decode_validity(octet) >= validity_s), 255)


def _decode_validity(octet: int) -> int:
    if octet <= 143:
        return (octet + 1) * 300
    if octet <= 167:
        return 12 * 3600 + (octet - 143) * 1800
    return (octet - 166) * 86400 if octet <= 196 else (octet - 192) * 7 * 86400


def _encode_user_data(text: str, encoding: Encoding, header: bytes) -> bytes:
    if encoding is Encoding.GSM7:
        septets = _to_septets(text)
        skipped = _header_septets(header)
        length = skipped + len(septets)
        data = header + _pack(septets, skipped * 7 - len(header) * 8)
    else:
        data = header + _to_ucs2(text)
        length = len(data)
    if len(data) > _USER_DATA_OCTETS:
        raise PduError(f"{len(data)} octets of user data, {_USER_DATA_OCTETS} at most")
    return bytes((length,)) + data


def _header_septets(header: bytes) -> int:
    """Return how many septets a header takes with its fill bits (TS 23.040 9.2.3.24)."""
    return (len(header) * 8 + 6) // 7


def _capacity(encoding: Encoding, header_octets: int) -> int:
    octets = _USER_DATA_OCTETS - header_octets
    return octets * 8 // 7 if encoding is Encoding.GSM7 else octets // 2


def _units(text: str, encoding: Encoding) -> int:
    if encoding is Encoding.GSM7:
        return sum(len(_SEPTETS[char]) for char in text)
    return len(_to_ucs2(text)) // 2


def _to_ucs2(text: str) -> bytes:
    """Code as UTF-16: what phones read in UCS2, emoji included."""
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError:
        raise PduError("the text has a lone surrogate") from None


def _to_septets(text: str) -> list[int]:
    try:
        return [septet for char in text for septet in _SEPTETS[char]]
    except KeyError:
        raise PduError("the text does not fit the GSM 7-bit alphabet") from None


def _from_septets(septets: Iterable[int]) -> str:
    """Read septets; what the extension table lacks is shown as in the basic one (TS 23.038 6.2.1.1)."""
    text, escaped = [], False
    for septet in septets:
        if escaped:
            text.append(_EXTENSION.get(septet, " " if septet == _ESCAPE else _BASIC[septet]))
        elif septet != _ESCAPE:
            text.append(_BASIC[septet])
        escaped = septet == _ESCAPE and not escaped
    return "".join(text)


def _pack(septets: list[int], fill_bits: int) -> bytes:
    """Pack septets into octets from the lowest bit up (TS 23.038 6.1.2.1), after some fill bits."""
    bits = sum(septet << 7 * index for index, septet in enumerate(septets)) << fill_bits
    return bits.to_bytes((fill_bits + 7 * len(septets) + 7) // 8, "little")


def _unpack(data: bytes, count: int, fill_bits: int) -> list[int]:
    bits = int.from_bytes(data, "little") >> fill_bits
    return [bits >> 7 * index & 0x7F for index in range(count)]
