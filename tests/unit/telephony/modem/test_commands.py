"""What a refusal means."""

import pytest

from services.telephony.modem.commands import CommandError, Repair, classify, final_result, is_registered
from services.telephony.modem.port import Failure


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        *(
            (f"+CMS ERROR: {code}", Failure.RETRY)
            for code in (17, 22, 27, 38, 41, 42, 47, 314, 331, 332, 500)
        ),
        *((f"+CMS ERROR: {code}", Failure.MESSAGE) for code in (1, 28, 304, 305)),
        *(
            (f"+CMS ERROR: {code}", Failure.SIM)
            for code in (8, 10, 29, 50, 310, 311, 312, 313, 315, 316, 317, 318)
        ),
        ("+CMS ERROR: 21", Failure.LIMITED),
        ("+CMS ERROR: 322", Repair.MEMORY_FULL),
        ("+CMS ERROR: 330", Repair.SERVICE_CENTRE),
        ("+CMS ERROR: 513", Failure.LIMITED),
        ("+CMS ERROR: unknown error", Failure.LIMITED),
        ("+CME ERROR: 14", Failure.RETRY),
        ("+CME ERROR: 10", Failure.SIM),
        ("ERROR", Failure.LIMITED),
    ],
)
def test_each_refusal_has_its_consequence(words: str, verdict: Failure | Repair) -> None:
    """TS 27.005 3.2.5 and TS 27.007 9.2."""
    assert classify(CommandError(words)) is verdict


def test_the_table_of_refusals_can_be_replaced() -> None:
    """Codes from 512 on are the vendor's."""
    assert classify(CommandError("+CMS ERROR: 513"), {513: Failure.RETRY}) is Failure.RETRY


@pytest.mark.parametrize("text", ["OK", "ERROR", "+CMS ERROR: 38", "+CME ERROR:14", "COMMAND NOT SUPPORT"])
def test_final_results_end_a_command(text: str) -> None:
    """V.250 and vendors."""
    assert final_result(text) == text


@pytest.mark.parametrize("text", ["OK then", "+CMGS: 1", "ERRORS", "NOT OK", ""])
def test_a_result_inside_a_text_is_none(text: str) -> None:
    """Anchored at both ends."""
    assert final_result(text) is None


@pytest.mark.parametrize(
    ("answer", "registered"),
    [
        ("+CREG: 0,1", True),
        ("+CREG: 0,5", True),
        ("+CEREG: 2,6", True),
        ('+CREG: 2,1,"1A2B","00C3",7', True),
        ("+CREG: 2,1,1A2B,00C3", True),
        ("+CREG: 1,0,1", True),
        ("+CREG: 0,2", False),
        ("+CREG: 0,3", False),
        ('+CREG: 2,0,"1111","1111"', False),
    ],
)
def test_registration_is_read_in_every_form(answer: str, registered: bool) -> None:
    """TS 27.007 7.2; `1,0,1` is ofono-phonesim's."""
    assert is_registered(answer) is registered
