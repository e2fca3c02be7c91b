"""The stages of opportunities: ordered, with how likely a sale is from each (F78 to F80)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from services.chassis.errors import InvalidInput
from services.kernel.texts import parse_text

MOST_STAGES = 20
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Stage:
    """A step on the way to a sale. probability: of a sale, in percent."""

    id: str
    name: str
    probability: int


# Names and probabilities until an administrator sets others.
PRESET = (("初步接洽", 10), ("需求确认", 30), ("方案报价", 50), ("商务谈判", 80))


def check_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Return stages that can be set.

    Raises InvalidInput naming the field: STAGES_OUT_OF_RANGE, STAGE_TWICE, PROBABILITY_OUT_OF_RANGE, TEXT_*.
    """
    if not 1 <= len(stages) <= MOST_STAGES:
        raise InvalidInput(
            "stages",
            "STAGES_OUT_OF_RANGE",
            "应有 1 到 {most} 个阶段",
            "There are 1 to {most} stages",
            most=MOST_STAGES,
        )
    checked: list[Stage] = []
    for index, given in enumerate(stages):
        field = f"stages[{index}]"
        stage = replace(given, name=parse_text(given.name, f"{field}.name", 50))
        if any(stage.name == other.name or stage.id == other.id for other in checked):
            raise InvalidInput(f"{field}.name", "STAGE_TWICE", "阶段重复", "This stage is there twice")
        if not 0 <= stage.probability <= 100:
            raise InvalidInput(
                f"{field}.probability",
                "PROBABILITY_OUT_OF_RANGE",
                "成交概率应在 0 到 100 之间",
                "A probability is 0 to 100",
            )
        checked.append(stage)
    return checked


def weighted(amount: Decimal, probability: int) -> Decimal:
    """Return what an amount is forecast to bring, to the cent."""
    return (amount * probability / 100).quantize(CENT, ROUND_HALF_UP)


def stays(entries: Sequence[tuple[str, datetime]], end: datetime) -> dict[str, int]:
    """Return the seconds in each stage, all times together, in the order of the first entry.

    entries: (stage, when it was entered), oldest first. end: when it was closed, or now.
    """
    result: dict[str, int] = {}
    ends = [entered for _, entered in entries[1:]] + [end]
    for (stage_id, entered), left in zip(entries, ends, strict=True):
        result[stage_id] = result.get(stage_id, 0) + int((left - entered).total_seconds())
    return result
