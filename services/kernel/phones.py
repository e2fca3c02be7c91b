"""Telephone numbers as people type them and as a PBX reports them, in one form: E.164 plus extension.

Understood: +86, 0086, a leading 0 before a mobile (long-distance habit), area code with 7 or 8 digits, a trailing
extension (转, -, x, ext), foreign numbers with + or 00, and service numbers (400, 800, 95xxx, 1xx) that have no
E.164 form and are kept as dialled. Mobiles need a carrier prefix. Source: libphonenumber's metadata (phonenumbers)
and the numbering plan of China as it stands in it.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import TypeVar, cast

import phonenumbers
from google.protobuf.message import Message
from phonenumbers import PhoneNumberType

from services.chassis.declarations import show_number, show_text, show_texts
from services.chassis.errors import InvalidInput
from services.chassis.numbers import hide_numbers

# Numbers that many companies share or that are no subscriber's: kept as dialled.
SERVICE_NUMBER = re.compile(r"(?:[48]00\d{7}|95\d{3,8}|96\d{3,6}|1(?:0\d{3}|1\d|2\d{1,3}))")
# Digits of one's own, then an extension behind a separator.
EXTENSION = re.compile(
    r"^(.*?\d)\s*(?:转|轉|分机|分機|;ext=|ext\.?|x|#|-{2,})\s*:?\s*(\d{1,6})$", re.IGNORECASE
)
# An area code, a local number, a third group: the third is an extension.
THIRD_GROUP = re.compile(r"^((?:\+?86[- ]?)?0?\d{2,3}[- ]\d{7,8})-(\d{1,6})$")
# Area codes of two digits (Beijing, Shanghai, ...) have local numbers of 8 digits.
TWO_DIGIT_AREAS = ("10", "2")
# What a PBX says when the caller hid the number.
ANONYMOUS = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "withheld", "<unknown>"}
)
# A stored mobile: carriers' prefixes were checked when it was typed.
MOBILE = re.compile(r"\+861[3-9]\d{9}")
# A landline as it is typed without any sign between: 0, area code, local number; a mobile has no such beginning.
LANDLINE = re.compile(r"0(?:10|[2-9][0-9])[0-9]{7,9}")
# Digits of a mobile without the country's code.
MOBILE_DIGITS = 11
# Shortest number that can be a subscriber's; shorter ones are extensions.
SHORTEST_SUBSCRIBER = 7

Texts = TypeVar("Texts", bound=Message)
Value = TypeVar("Value")


class PhoneKind(StrEnum):
    """What a number is."""

    MOBILE = "mobile"
    LANDLINE = "landline"
    SERVICE = "service"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class PhoneNumber:
    """A number in the one form in which it is stored and compared.

    e164: "+8613800138000", or a service number as dialled ("4008123456"). extension: digits behind it, or "".
    """

    e164: str
    extension: str
    kind: PhoneKind

    @property
    def key(self) -> str:
        """What makes it one line of its own: the number, and the extension as RFC 3966 writes it (";ext=801")."""
        return f"{self.e164};ext={self.extension}" if self.extension else self.e164


def parse_phone(text: str, field: str) -> PhoneNumber:
    """Return the number that a person typed.

    Raises InvalidInput naming `field`: PHONE_LENGTH for a mobile that has not 11 digits or a landline whose local
    part has not 7 or 8 (F239), PHONE_PREFIX for a prefix that no carrier or area has (F240), PHONE_INVALID else.
    """
    if len(text) == MOBILE_DIGITS and text.isascii() and _mobiles().fullmatch(text):
        # As nearly everybody types it: what is below says the same, in ten times the time.
        return PhoneNumber(f"+86{text}", "", PhoneKind.MOBILE)
    if LANDLINE.fullmatch(text) and _landline_lengths(text[1:]) and _landlines().fullmatch(text[1:]):
        # As landlines mostly are, for the same reason.
        return PhoneNumber(f"+86{text[1:]}", "", PhoneKind.LANDLINE)
    number, extension = _split(_plain(text))
    digits = re.sub(r"\D", "", number)
    if SERVICE_NUMBER.fullmatch(digits) and not number.startswith("+"):
        return PhoneNumber(digits, extension, PhoneKind.SERVICE)
    international = _international(number)
    if not international.startswith("+86"):
        return _foreign(international, extension, field)
    national = international.removeprefix("+86")
    if national.startswith("1") and not national.startswith("10"):
        if len(national) != MOBILE_DIGITS:
            raise InvalidInput(
                field,
                "PHONE_LENGTH",
                "手机号应为11位，现为{digits}位",
                "A mobile number has 11 digits, this one has {digits}",
                digits=len(national),
            )
        if _mobiles().fullmatch(national):
            return PhoneNumber(international, extension, PhoneKind.MOBILE)
    elif not _landline_lengths(national):
        raise _landline_length(field)
    elif _landlines().fullmatch(national):
        return PhoneNumber(international, extension, PhoneKind.LANDLINE)
    parsed = phonenumbers.parse(international)
    if not phonenumbers.is_possible_number(parsed):
        raise _landline_length(field)
    if not phonenumbers.is_valid_number(parsed):
        raise InvalidInput(
            field,
            "PHONE_PREFIX",
            "没有这样的号段，请核对号码",
            "No carrier or area has this prefix; check the number",
        )
    mobile = phonenumbers.number_type(parsed) == PhoneNumberType.MOBILE
    return PhoneNumber(international, extension, PhoneKind.MOBILE if mobile else PhoneKind.LANDLINE)


@lru_cache(maxsize=4096)
def match_number(text: str) -> str:
    """Return the form under which a caller's number may be stored; "" for hidden numbers and extensions.

    Never refuses: what a PBX reports is what it is. A leading 9 for an outside line is dropped where the rest is a
    number and the whole is none.
    """
    plain = _plain(text)
    if plain.lower() in ANONYMOUS:
        return ""
    for candidate in (plain, plain[1:] if plain.startswith("9") else ""):
        if len(re.sub(r"\D", "", candidate)) < SHORTEST_SUBSCRIBER and not SERVICE_NUMBER.fullmatch(
            candidate
        ):
            continue
        try:
            return parse_phone(candidate, "number").e164
        except InvalidInput:
            continue
    return ""


def caller_number(text: str) -> str:
    """Return what is kept as a caller's number: E.164 where it is one, "" for a hidden one, else what the PBX says."""
    return match_number(text) or ("" if _plain(text).lower() in ANONYMOUS else text)


def is_mobile(number: str) -> bool:
    """Tell whether a stored number is a Chinese mobile, that is, can get an SMS from a SIM at home."""
    return MOBILE.fullmatch(number) is not None


def mask_number(number: str) -> str:
    """Return a number with its middle hidden: +86138****8000; short ones keep two digits at the end."""
    if number.startswith("+86") and len(number) >= 12:
        return f"{number[:6]}****{number[-4:]}"
    return f"{number[:3]}****{number[-2:]}" if len(number) >= 7 else "*" * len(number)


def text_for(text: str, *, may_see: bool) -> str:
    """Return a text that people typed for whoever called: as it is, or with the numbers in it hidden."""
    return show_text(text) if may_see else hide_numbers(text)


def texts_for(message: Texts, *, may_see: bool) -> Texts:
    """Return a message; what people typed into it stays as it is where a rule says that the caller may see the numbers.

    Else the server hides them on the way out, see `declarations`.
    """
    if may_see:
        show_texts(message)
    return message


def kept(given: Value, before: object) -> Value:
    """Return what a form makes of a value: texts that it gives back as they were shown without numbers stay.

    before: what stands. Only a text, or a list of such, can have been shown otherwise.
    """
    if isinstance(given, str) and isinstance(before, str):
        return cast(Value, before) if given == hide_numbers(before) else given
    if isinstance(given, list) and isinstance(before, list):
        whole = {hide_numbers(text): text for text in before}
        return cast(Value, [whole.get(text, text) for text in given])
    return given


def number_for(number: str, *, may_see: bool) -> str:
    """Return a number for whoever called: in the clear where a rule says that the caller may see it, else masked."""
    return show_number(number) if may_see else mask_number(number)


def display_number(number: str) -> str:
    """Return a stored number as people in China write it: mobiles bare, landlines with 0 and area code."""
    if not number.startswith("+86"):
        return number
    national = number.removeprefix("+86")
    return national if national.startswith("1") and len(national) == 11 else f"0{national}"


@cache
def _mobiles() -> re.Pattern[str]:
    """Return libphonenumber's pattern of China's mobile numbers: all it would go by, without the rest of its steps.

    An import asks this of each of 100,000 rows.
    """
    return _pattern(_china().mobile)


@cache
def _landlines() -> re.Pattern[str]:
    """Return libphonenumber's pattern of China's landlines, for the same reason."""
    return _pattern(_china().fixed_line)


def _china() -> phonenumbers.PhoneMetadata:
    found = phonenumbers.PhoneMetadata.metadata_for_region("CN")
    if found is None:
        raise RuntimeError("libphonenumber does not know China")
    return found


def _pattern(numbers: phonenumbers.PhoneNumberDesc | None) -> re.Pattern[str]:
    if numbers is None or not numbers.national_number_pattern:
        raise RuntimeError("libphonenumber has no pattern of these numbers")
    return re.compile(numbers.national_number_pattern)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _split(text: str) -> tuple[str, str]:
    found = EXTENSION.match(text) or THIRD_GROUP.match(text)
    return (found[1], found[2]) if found else (text, "")


def _international(number: str) -> str:
    """Return + and all digits; what has no country is Chinese."""
    digits = re.sub(r"\D", "", number)
    if number.startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    if digits.startswith("86") and len(digits) in (12, 13):
        return f"+{digits}"
    return f"+86{digits.removeprefix('0')}"


def _landline_lengths(national: str) -> bool:
    """Tell whether a landline has as many digits as its area's do."""
    return len(national) in ((10,) if national.startswith(TWO_DIGIT_AREAS) else (10, 11))


def _landline_length(field: str) -> InvalidInput:
    return InvalidInput(
        field, "PHONE_LENGTH", "固定电话应为区号加7或8位号码", "A landline is an area code and 7 or 8 digits"
    )


def _foreign(international: str, extension: str, field: str) -> PhoneNumber:
    try:
        parsed = phonenumbers.parse(international)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        raise InvalidInput(
            field, "PHONE_INVALID", "电话号码无效，请核对", "This is not a telephone number; check it"
        )
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return PhoneNumber(e164, extension, PhoneKind.FOREIGN)
