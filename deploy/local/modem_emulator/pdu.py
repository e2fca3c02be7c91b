"""Read the SMS-SUBMITs that programs send, and write the DELIVERs and reports that a network would (3GPP TS 23.040)."""

from dataclasses import dataclass
from datetime import datetime

# 3GPP TS 23.038 6.2.1, a row of sixteen at a time; \x1b leads to the extension table.
_ALPHABET = "".join((
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
))  # fmt: skip
_EXTENDED = {10: "\f", 20: "^", 40: "{", 41: "}", 47: "\\", 60: "[", 61: "~", 62: "]", 64: "|", 101: "€"}
# The service centre +8613800100500, as it stands before what a modem shows.
SERVICE_CENTRE = "+8613800100500"
_SERVICE_CENTRE_HEX = "0891683108100005F0"
# One UCS2 segment holds 70 code units, one of several 67.
_WHOLE_BYTES, _PART_BYTES = 140, 134


class BadPduError(ValueError):
    """Say that a network would refuse this PDU."""


@dataclass(frozen=True)
class Submitted:
    """Hold one segment as it was sent; part and parts from 1, group: the reference that joins them."""

    number: str
    text: str
    part: int
    parts: int
    group: int
    wants_report: bool
    validity: str
    address_hex: str


def read_submit(pdu: str, octets: int) -> Submitted:
    """Read what came between AT+CMGS=octets and Ctrl-Z; BadPduError if it is not what it says it is."""
    try:
        data = bytes.fromhex(pdu)
        rest = data[1 + data[0] :]
        if len(rest) != octets:
            raise BadPduError(f"{len(rest)} octets sent, {octets} announced")
        first, digits = rest[0], rest[2]
        if first & 3 != 1:
            raise BadPduError("not an SMS-SUBMIT")
        address = rest[2 : 4 + (digits + 1) // 2]
        rest = rest[len(address) + 3 :]
        coding, rest = rest[0], rest[1:]
        # No validity, relative (one octet), enhanced or absolute (seven).
        validity_octets = (0, 7, 1, 7)[first >> 3 & 3]
        validity, rest = rest[:validity_octets], rest[validity_octets:]
        length, body = rest[0], rest[1:]
        header = body[: 1 + body[0]] if first & 0x40 else b""
        text = _text(coding, length, body, header)
    except (ValueError, LookupError) as error:
        raise BadPduError(str(error)) from error
    group, parts, part = _place(header)
    return Submitted(
        _number(address), text, part, parts, group, bool(first & 0x20), validity.hex(), address.hex().upper()
    )


def delivers(number: str, text: str, at: datetime, group: int) -> list[tuple[str, int]]:
    """Write a text from a number as the network delivers it, always in UCS2: hex and octets of each
    segment."""
    data = text.encode("utf-16-be")
    pieces = [data] if len(data) <= _WHOLE_BYTES else _pieces(data)
    result = []
    for index, piece in enumerate(pieces, 1):
        header = bytes((5, 0, 3, group & 0xFF, len(pieces), index)) if len(pieces) > 1 else b""
        tpdu = bytes((0x44 if header else 0x04,)) + _address(number) + bytes((0, 8)) + _stamp(at)
        tpdu += bytes((len(header) + len(piece),)) + header + piece
        result.append((_SERVICE_CENTRE_HEX + tpdu.hex().upper(), len(tpdu)))
    return result


def report(
    submitted: Submitted, reference: int, sent: datetime, done: datetime, status: int
) -> tuple[str, int]:
    """Write the network's report on a segment: hex and octets."""
    address = bytes.fromhex(submitted.address_hex)
    tpdu = bytes((0x06, reference)) + address + _stamp(sent) + _stamp(done) + bytes((status,))
    return _SERVICE_CENTRE_HEX + tpdu.hex().upper(), len(tpdu)


def _text(coding: int, length: int, body: bytes, header: bytes) -> str:
    if coding & 0x0C == 0x08:
        if len(body) != length:
            raise BadPduError("user data length does not fit")
        # The network passes on what it gets; a lone half of a surrogate pair shows as what it is.
        return body[len(header) :].decode("utf-16-be", errors="surrogatepass")
    if coding & 0x0C:
        raise BadPduError("neither GSM 7-bit nor UCS2")
    if len(body) != (length * 7 + 7) // 8:
        raise BadPduError("user data length does not fit")
    bits = [octet >> place & 1 for octet in body for place in range(8)]
    codes = [sum(bits[at * 7 + place] << place for place in range(7)) for at in range(length)]
    text, escaped = "", False
    for code in codes[(len(header) * 8 + 6) // 7 :]:
        if code == 0x1B:
            escaped = True
        else:
            text += _EXTENDED[code] if escaped else _ALPHABET[code]
            escaped = False
    if escaped:
        raise BadPduError("an escape without its character")
    return text


def _place(header: bytes) -> tuple[int, int, int]:
    at = 1
    while at + 1 < len(header):
        kind, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        if kind == 0 and length == 3:
            return value[0], value[1], value[2]
        if kind == 8 and length == 4:
            return value[0] << 8 | value[1], value[2], value[3]
        at += 2 + length
    return 0, 1, 1


def _number(address: bytes) -> str:
    digits = "".join(f"{octet:02X}"[::-1] for octet in address[2:])[: address[0]]
    return ("+" if address[1] & 0x70 == 0x10 else "") + digits.replace("A", "*").replace("B", "#")


def _address(number: str) -> bytes:
    digits = number.removeprefix("+")
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[at + 1] + padded[at] for at in range(0, len(padded), 2))
    return bytes((len(digits), 0x91 if number.startswith("+") else 0x81)) + bytes.fromhex(swapped)


def _stamp(at: datetime) -> bytes:
    offset = at.utcoffset()
    quarters = int(offset.total_seconds()) // 900 if offset else 0
    swapped = "".join(
        f"{value:02d}"[::-1] for value in (at.year % 100, at.month, at.day, at.hour, at.minute, at.second)
    )
    zone = f"{abs(quarters):02d}"
    return bytes.fromhex(swapped) + bytes((int(zone[1]) << 4 | int(zone[0]) | (8 if quarters < 0 else 0),))


def _pieces(data: bytes) -> list[bytes]:
    """Cut between characters: a high surrogate is never the last of a piece."""
    pieces = []
    while data:
        end = min(_PART_BYTES, len(data))
        if end < len(data) and data[end - 2] & 0xFC == 0xD8:
            end -= 2
        pieces.append(data[:end])
        data = data[end:]
    return pieces
