"""Terms of delivery decide which fields a quote has, and what it comes to (F94)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.kernel.money import parse_amount
from services.kernel.texts import parse_text
from services.orders.domain.contracts import parse_day

# Of amounts when nothing is said, and of products' prices.
HOME_CURRENCY = "CNY"
# As ISO 4217 writes a currency.
CURRENCY = re.compile(r"[A-Z]{3}")
LONGEST_PORT = 100


class QuoteMode(StrEnum):
    """Terms of delivery, Incoterms 2020."""

    FOB = "fob"
    CFR = "cfr"
    CIF = "cif"


# What somebody types, besides what every quote has, and what follows from it. Each mode has all of the one before.
TYPED: Mapping[QuoteMode, tuple[str, ...]] = {
    QuoteMode.FOB: ("port_of_loading",),
    QuoteMode.CFR: ("port_of_loading", "port_of_destination", "freight"),
    QuoteMode.CIF: ("port_of_loading", "port_of_destination", "freight", "insurance"),
}
COMPUTED: Mapping[QuoteMode, tuple[str, ...]] = {
    QuoteMode.FOB: ("fob_amount",),
    QuoteMode.CFR: ("fob_amount", "cfr_amount"),
    QuoteMode.CIF: ("fob_amount", "cfr_amount", "cif_amount"),
}


@dataclass(frozen=True)
class Delivery:
    """A quote's terms of delivery. Ports "" and amounts None where the mode has no such field."""

    mode: QuoteMode
    port_of_loading: str
    port_of_destination: str
    freight: Decimal | None
    insurance: Decimal | None


def parse_delivery(mode: QuoteMode, given: Mapping[str, str]) -> Delivery:
    """Return the terms of delivery as typed: port_of_loading, port_of_destination, freight, insurance.

    Raises InvalidInput naming the field: FIELD_NOT_OF_MODE for one that the mode does not have, TEXT_EMPTY or
    AMOUNT_INVALID for one that it needs.
    """
    for name, text in given.items():
        if text.strip() and name not in TYPED[mode]:
            raise InvalidInput(
                f"quote.{name}",
                "FIELD_NOT_OF_MODE",
                "{mode} 报价没有该项",
                "A quote of {mode} has no such field",
                mode=mode.upper(),
            )

    def port(name: str) -> str:
        return parse_text(given[name], f"quote.{name}", LONGEST_PORT) if name in TYPED[mode] else ""

    def cost(name: str) -> Decimal | None:
        return parse_amount(given[name], f"quote.{name}") if name in TYPED[mode] else None

    return Delivery(
        mode, port("port_of_loading"), port("port_of_destination"), cost("freight"), cost("insurance")
    )


def amounts(delivery: Delivery, goods: Decimal) -> dict[str, Decimal]:
    """Return what a quote comes to, by the fields that its mode has; its own is the last one. goods: sum of lines."""
    zero = Decimal("0.00")
    cfr = goods + (delivery.freight or zero)
    found = {"fob_amount": goods, "cfr_amount": cfr, "cif_amount": cfr + (delivery.insurance or zero)}
    return {name: found[name] for name in COMPUTED[delivery.mode]}


def parse_currency(text: str) -> str:
    """Return a currency, CNY for none; raises InvalidInput CURRENCY_INVALID."""
    if text and not CURRENCY.fullmatch(text):
        raise InvalidInput(
            "quote.currency",
            "CURRENCY_INVALID",
            "币种为三个大写字母，例如 USD",
            "A currency is three capital letters such as USD",
        )
    return text or HOME_CURRENCY


def parse_valid_until(text: str, today: date) -> date:
    """Return the last day of a quote; raises InvalidInput DAY_INVALID, DAY_OVER for one before today."""
    day = parse_day(text, "quote.valid_until")
    if day < today:
        raise InvalidInput("quote.valid_until", "DAY_OVER", "有效期不能早于今天", "This day is over")
    return day
