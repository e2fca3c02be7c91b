"""The codec against two others (libGammu, smsutil), the emulator's reader, and what real programs sent."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import gammu
import pytest
import smsutil
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.modem_emulator.pdu import read_submit
from services.telephony.modem.pdu import (
    Concat,
    Deliver,
    Encoding,
    PduError,
    StatusReport,
    Submit,
    decode_received,
    split,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "modem"
GSM7 = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)
gsm7_texts = st.text(GSM7, max_size=700)
# What salespeople write: Chinese, full-width punctuation, emoji, some Latin.
ucs2_texts = st.text(
    st.one_of(
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF),
        st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF),
        st.sampled_from("，。！？【】《》：；“”￥abcXYZ 0123456789"),
    ),
    max_size=400,
)
texts = st.one_of(gsm7_texts, ucs2_texts, st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
numbers = st.from_regex(r"\+86[0-9]{11}|\+[1-9][0-9]{6,14}|[1-9][0-9]{2,11}", fullmatch=True)


def segments(text: str, *, wide: bool = False) -> list[Submit]:
    """Make the SUBMITs of a text."""
    cut = split(text, wide=wide)
    count = len(cut.parts)
    return [
        Submit(
            "+8613800138000", part, cut.encoding, Concat(7, place, count, wide) if count > 1 else None, 86400
        )
        for place, part in enumerate(cut.parts, 1)
    ]


@settings(deadline=None)
@given(texts, st.booleans())
def test_the_segments_of_a_text_join_to_the_text_and_are_read_back_as_they_were_written(
    text: str, wide: bool
) -> None:
    """F199: bulk SMS goes out in PDU mode."""
    written = segments(text, wide=wide)
    assert "".join(segment.text for segment in written) == text
    for segment in written:
        pdu, octets = segment.encode()
        assert len(pdu) // 2 - 1 == octets <= 164
        assert Submit.decode(pdu) == segment


@settings(deadline=None)
@given(texts)
def test_no_segment_ends_inside_a_surrogate_pair_or_an_escape_sequence(text: str) -> None:
    """Each segment alone is whole: the independent reader of the emulator refuses halves."""
    for segment in segments(text):
        read = read_submit(*segment.encode())
        assert read.text == segment.text
        assert not any("\ud800" <= char <= "\udfff" for char in read.text)


@settings(deadline=None)
@given(texts)
def test_a_text_takes_as_many_segments_as_smsutil_counts(text: str) -> None:
    """smsutil is an independent count; it does not know the form feed of the extension table."""
    if "\f" not in text:
        assert len(split(text).parts) == max(len(smsutil.split(text).parts), 1)


@settings(deadline=None)
@given(texts)
def test_gammu_reads_what_is_written(text: str) -> None:
    """libGammu garbles `~` and U+0001 in UCS2 and ends a text at NUL, so those are left out."""
    if any(char in text for char in "\0\x01\f") or (split(text).encoding is Encoding.UCS2 and "~" in text):
        return
    for segment in segments(text):
        pdu, _ = segment.encode()
        read = gammu.DecodePDU(bytes.fromhex(pdu), True)
        # In GSM-7 it counts septets, and reads past the end by one for each extended character.
        assert read["Text"][: len(segment.text)] == segment.text
        assert read["Number"] == segment.number
        if segment.concat:
            assert (read["UDH"]["ID8bit"], read["UDH"]["PartNumber"], read["UDH"]["AllParts"]) == (
                7,
                segment.concat.part,
                segment.concat.parts,
            )


@settings(deadline=None)
@given(numbers, ucs2_texts.filter(lambda text: 0 < len(split(text).parts) < 2))
def test_what_gammu_delivers_is_read(number: str, text: str) -> None:
    """An incoming message as another program writes it."""
    message = {
        "Number": number,
        "Text": text,
        "Coding": "Unicode_No_Compression",
        "SMSC": {"Number": "+8613800100500"},
        "Class": -1,
        "Type": "Deliver",
        "Folder": 1,
        "State": "UnRead",
        "DateTime": datetime(2026, 11, 21, 19, 47, 9),  # noqa: DTZ001 - gammu takes naive times only
    }
    pdu = gammu.EncodePDU(message, "Deliver")
    read = decode_received(pdu.hex(), len(pdu) - 1 - pdu[0])
    assert isinstance(read, Deliver)
    assert (read.number, read.text) == (number, text)


@pytest.mark.parametrize("line", (FIXTURES / "submits.jsonl").read_text().splitlines())
def test_real_programs_submits_are_read_alike_by_codec_and_emulator(line: str) -> None:
    """Two readers that share no code agree on what six other programs wrote."""
    sample = json.loads(line)
    ours, emulators = Submit.decode(sample["pdu"]), read_submit(sample["pdu"], sample["octets"])
    assert (ours.number, ours.text, ours.report) == (emulators.number, emulators.text, emulators.wants_report)
    place = ours.concat or Concat(0, 1, 1)
    assert (place.reference, place.part, place.parts) == (emulators.group, emulators.part, emulators.parts)
    assert ours.number == "+8613800138000"


def test_messages_from_a_real_emulator_are_read() -> None:
    """ofono-phonesim's own encoder: GSM-7, UCS2 and three segments of a long text, then reports."""
    samples = [json.loads(line) for line in (FIXTURES / "received.jsonl").read_text().splitlines()]
    read = [decode_received(sample["pdu"], sample["octets"]) for sample in samples]
    brisbane, china = timezone(timedelta(hours=10)), timezone(timedelta(hours=8))
    assert read[0] == Deliver(
        "+8613800138000", "hello TD", Encoding.GSM7, None, datetime(2026, 11, 21, 19, 47, 8, tzinfo=brisbane)
    )
    assert read[1] == Deliver(
        "+8613800138000",
        "收到，明天见。TD 退订",
        Encoding.UCS2,
        None,
        datetime(2026, 11, 21, 19, 47, 9, tzinfo=brisbane),
    )
    long = [part for part in read[2:5] if isinstance(part, Deliver)]
    assert "".join(part.text for part in long) == "很长的短信" * 30
    assert [part.concat for part in long] == [Concat(0, part, 3) for part in (1, 2, 3)]
    at = datetime(2026, 11, 21, 19, 52, 51, tzinfo=china)
    assert read[6] == StatusReport(1, "+8613800138000", at, at, 0)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_garbage_is_refused_and_nothing_worse(data: bytes, octets: int) -> None:
    """A modem may pass on anything; only PduError may come of it."""
    for pdu in (data.hex(), data.decode("latin-1")):
        try:
            decode_received(pdu, octets)
        except PduError:
            continue


@pytest.mark.parametrize(
    ("asked_s", "granted_s"),
    [(1, 300), (300, 300), (3600, 3600), (12 * 3600 + 1, 12.5 * 3600), (86400, 86400), (90000, 2 * 86400)],
)
def test_a_validity_is_rounded_up_to_what_the_format_can_say(asked_s: int, granted_s: float) -> None:
    """TS 23.040 9.2.3.12.1: steps of 5 minutes, half an hour, a day, a week."""
    pdu, _ = Submit("10086", "x", Encoding.GSM7, validity_s=asked_s).encode()
    assert Submit.decode(pdu).validity_s == granted_s


@pytest.mark.parametrize("number", ["", "+", "abc", "138 0013", "+86138001380001234567890", "1\r2"])
def test_a_number_that_no_sms_can_be_sent_to_is_refused(number: str) -> None:
    """Before anything is written to the modem."""
    with pytest.raises(PduError):
        Submit(number, "x", Encoding.GSM7).encode()


def test_texts_that_no_sms_can_carry_are_refused() -> None:
    """Too long, half a character, too long for one segment, not in the alphabet."""
    with pytest.raises(PduError):
        split("长" * (67 * 255 + 1))
    with pytest.raises(PduError):
        split("长\ud83d")
    with pytest.raises(PduError):
        Submit("10086", "长" * 71, Encoding.UCS2).encode()
    with pytest.raises(PduError):
        Submit("10086", "长", Encoding.GSM7).encode()


def test_an_alphanumeric_sender_is_read_as_its_name() -> None:
    """Banks and couriers send as a name (TS 23.040 9.1.2.5): nine semi-octets are five septets."""
    tpdu = "04" + "09D0" + "C760B35905" + "0000" + "62111291749023" + "02" + "C834"
    read = decode_received(tpdu, len(tpdu) // 2)
    assert isinstance(read, Deliver)
    assert (read.number, read.text) == ("GAMMU", "Hi")


def test_a_message_without_the_service_centre_in_front_is_read() -> None:
    """Some modems leave it out (TS 27.005 3.1); the announced length tells."""
    with_centre = "0891683108100005F006010D91683108108300F0621112912515236211129125152300"
    assert decode_received(with_centre, 26) == decode_received(with_centre[18:], 26)
