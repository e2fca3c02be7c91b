"""What a merge of two customers decides: which fields the survivor may take, and what an undo puts back."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from services.chassis.errors import InvalidInput, RuleViolation

# Fields that the survivor may take from the other, beside the tenant's own, which are named `custom.<key>`.
FIELDS = (
    "name",
    "level",
    "region",
    "address",
    "business_type",
    "category_id",
    "tags",
    "hot",
    "dealer",
    "dealer_id",
    "parent_id",
    "finance",
)
CUSTOM = "custom."
# Services that have rows of customers, and say when they have moved them.
FOLLOWERS = ("dedupe", "leads", "notify", "orders", "telephony")


class MergeState(StrEnum):
    """RUNNING and UNDOING last until every service has followed; MERGED may be undone, UNDONE is for good."""

    RUNNING = "running"
    MERGED = "merged"
    UNDOING = "undoing"
    UNDONE = "undone"


def check_pair(survivor_id: str, merged_id: str) -> None:
    """Raise InvalidInput MERGE_WITH_ITSELF for one customer twice."""
    if survivor_id == merged_id:
        raise InvalidInput(
            "merged_id", "MERGE_WITH_ITSELF", "不能与自身合并", "A customer cannot be merged with itself"
        )


def check_taken(taken: Sequence[str], custom: Mapping[str, Any]) -> list[str]:
    """Return the fields to take, each once; raises InvalidInput FIELD_NOT_MERGEABLE. custom: definitions by key."""
    for place, name in enumerate(taken):
        if name not in FIELDS and name.removeprefix(CUSTOM) not in custom:
            raise InvalidInput(
                f"take[{place}]", "FIELD_NOT_MERGEABLE", "该字段不能合并", "This field cannot be taken over"
            )
    return sorted(set(taken))


def check_undoable(state: str) -> None:
    """Raise RuleViolation MERGE_RUNNING until every service has followed, MERGE_UNDONE afterwards."""
    if state == MergeState.RUNNING:
        raise RuleViolation("MERGE_RUNNING", "合并尚未完成，请稍后再试", "The merge is still under way")
    if state != MergeState.MERGED:
        raise RuleViolation("MERGE_UNDONE", "该合并已撤销", "This merge was undone already")


def put_back(now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an undo sets: the fields that still are as the merge left them; what somebody edited since stays."""
    return {name: before[name] for name in before if now.get(name) == after.get(name)}
