"""Texts that nobody used before."""

from services.chassis.ids import new_id

LETTERS = str.maketrans("0123456789", "ghijklmnop")


def letters() -> str:
    """Return twelve letters, no digit: a run of those reads as a telephone number, which is hidden from most."""
    return new_id()[-12:].translate(LETTERS)
