"""Unified social credit codes (统一社会信用代码) by GB 32100-2015: 17 characters and one that checks them."""

import unicodedata

from services.chassis.errors import InvalidInput

# The characters that a code may have, in the order of their values; I, O, S, V and Z are left out.
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
LENGTH = 18
# GB 32100-2015, 5.1.5: the weight of place i is 3 to the power of i, modulo 31.
WEIGHTS = tuple(pow(3, place, 31) for place in range(LENGTH - 1))


def check_character(code: str) -> str:
    """Return the check character of a code's first 17 characters, each of `ALPHABET`."""
    total = sum(weight * ALPHABET.index(char) for weight, char in zip(WEIGHTS, code, strict=False))
    return ALPHABET[-total % len(ALPHABET)]


def is_credit_code(text: str) -> bool:
    """Tell whether a stored tax number is a unified social credit code: a person's, or one of before 2015, is none."""
    return len(text) == LENGTH and set(text) <= set(ALPHABET) and check_character(text) == text[-1]


def parse_credit_code(text: str, field: str) -> str:
    """Return a code as it is stored: upper case, half width, without blanks.

    Raises InvalidInput naming `field`: CREDIT_CODE_LENGTH, CREDIT_CODE_CHARACTER, CREDIT_CODE_CHECK for one whose
    check character does not fit: mistyped.
    """
    code = "".join(unicodedata.normalize("NFKC", text).split()).upper()
    if len(code) != LENGTH:
        raise InvalidInput(
            field,
            "CREDIT_CODE_LENGTH",
            "统一社会信用代码应为{length}位，现为{given}位",
            "A unified social credit code has {length} characters, this one has {given}",
            length=LENGTH,
            given=len(code),
        )
    if wrong := next((char for char in code if char not in ALPHABET), ""):
        raise InvalidInput(
            field,
            "CREDIT_CODE_CHARACTER",
            "统一社会信用代码不能含有“{char}”",
            "A unified social credit code has no “{char}”",
            char=wrong,
        )
    if check_character(code) != code[-1]:
        raise InvalidInput(
            field,
            "CREDIT_CODE_CHECK",
            "统一社会信用代码校验位不符，请核对",
            "The code's check character does not fit; check the code",
        )
    return code
