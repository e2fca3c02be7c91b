"""Story: a neglected customer returns to the pool (F8-F17, F21, F24, F187).

Here the running system claims, returns, hides, warns and takes back. The 90 days are those of an old base: what is
owned since long ago is written into the store as it would stand there. tests/integration/customers skips time instead.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from deploy.local.stack import Stack
from services.chassis.clock import utc_now
from services.chassis.walls import EVERY_TENANT_OPTIONS
from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.desk import Desk, Refused
from tests.support.until import until


@pytest.fixture
def pool_id(company: Company) -> str:
    """A pool that everybody may claim from."""
    pool = company.admin.post("pools", pool={"name": "公共客户", "rule": {"idleDays": 90, "warnDays": 1}})[
        "pool"
    ]
    return str(pool["poolId"])


def test_of_fifty_concurrent_claims_exactly_one_wins(company: Company, pool_id: str) -> None:
    """F12."""
    reps = [company.hire(f"rep{number}", f"销售{number}", "sales_rep") for number in range(10)]
    customer = company.admin.post(
        "customers", name=fresh_name("抢"), phones=[{"number": fresh_mobile()}], poolId=pool_id
    )["customer"]
    customer_id = customer["customerId"]

    def claim(rep: Desk) -> str | None:
        (result,) = rep.post("customers:claim", customerIds=[customer_id])["results"]
        return rep.person_id if result.get("done") else None

    with ThreadPoolExecutor(50) as threads:
        winners = [winner for winner in threads.map(claim, reps * 5) if winner]
    assert len(winners) == 1
    assert company.admin.get(f"customers/{customer_id}")["customer"]["ownerId"] == winners[0]
    changes = company.admin.get(f"customers/{customer_id}/ownershipChanges")["changes"]
    assert [change["cause"] for change in changes][:1] == ["OWNERSHIP_CAUSE_CLAIM"]


def test_the_number_shows_after_the_claim(company: Company, pool_id: str) -> None:
    """F24, F59, O7."""
    rep = company.hire("li", "李雷", "sales_rep")
    mobile = fresh_mobile()
    customer_id = company.admin.post(
        "customers", name=fresh_name("遮"), phones=[{"number": mobile}], poolId=pool_id
    )["customer"]["customerId"]
    (listed,) = rep.get("customers", view="CUSTOMER_VIEW_POOL", poolId=pool_id)["customers"]
    assert mobile not in str(listed)
    assert mobile not in str(rep.get(f"customers/{customer_id}"))
    assert rep.post("customers:claim", customerIds=[customer_id])["results"][0]["done"] is True
    assert mobile in str(rep.get(f"customers/{customer_id}"))


def test_a_returned_customer_is_claimable_by_another(company: Company, pool_id: str) -> None:
    """F8-F11: a customer without a pool needs one named, with a reason kept in the history."""
    rep = company.hire("li", "李雷", "sales_rep")
    other = company.hire("zhang", "张伟", "sales_rep")
    customer_id = str(customer_of(rep, fresh_name("退"), fresh_mobile())["customerId"])
    with pytest.raises(Refused):
        other.post(f"customers/{customer_id}:return", reason="不是我的", poolId=pool_id)
    returned = rep.post(f"customers/{customer_id}:return", reason="输单", poolId=pool_id)["customer"]
    assert returned.get("ownerId", "") == ""
    assert other.post("customers:claim", customerIds=[customer_id])["results"][0]["done"] is True
    changes = other.get(f"customers/{customer_id}/ownershipChanges")["changes"]
    assert "输单" in [change.get("reason") for change in changes]


def test_more_than_ten_in_one_claim_are_refused(company: Company, pool_id: str) -> None:
    """F21."""
    rep = company.hire("li", "李雷", "sales_rep")
    ids = [company.admin.person_id] * 11
    with pytest.raises(Refused) as refused:
        rep.post("customers:claim", customerIds=ids)
    assert refused.value.status == 400


def age(stack: Stack, days: float, *customer_ids: str) -> None:
    """Let customers be so many days older than they are: owned, worked on, warned and due so much earlier."""
    with psycopg.connect(stack.stores.database_urls["main"], options=EVERY_TENANT_OPTIONS) as database:
        database.execute(
            """
            UPDATE customers.customer SET own_time = own_time - %(age)s, warned_time = warned_time - %(age)s,
                warn_due_at = warn_due_at - %(age)s, reclaim_due_at = reclaim_due_at - %(age)s
            WHERE customer_id = ANY(%(ids)s::uuid[])
            """,
            {"age": timedelta(days=days), "ids": list(customer_ids)},
        )


def test_a_neglected_customer_is_warned_of_a_day_before_and_falls_and_a_locked_one_stays(
    stack: Stack, company: Company, pool_id: str
) -> None:
    """F14, F16, F17, F187: through the real workflow, and evidence that orders and telephony say is complete."""
    rep = company.hire("li", "李雷", "sales_rep")
    neglected, locked = (
        company.admin.post(
            "customers", name=fresh_name("旧"), phones=[{"number": fresh_mobile()}], poolId=pool_id
        )["customer"]["customerId"]
        for _ in range(2)
    )
    rep.post("customers:claim", customerIds=[neglected, locked])
    rep.post(f"customers/{locked}:lock", days=30)

    def owner(customer_id: str) -> str:
        return str(company.admin.get(f"customers/{customer_id}")["customer"].get("ownerId", ""))

    def warned() -> bool:
        return any("公海" in str(item) or "回收" in str(item) for item in rep.get("messages")["messages"])

    # Day 89 and a bit: the owner is warned, and still the owner.
    age(stack, 89.1, neglected, locked)
    signal(company, rep, pool_id)
    until(warned, 60)
    explained = rep.get(f"customers/{neglected}/reclaim")
    assert explained.get("daysLeft", 0) <= 1
    assert explained["reclaimDueTime"] > utc_now().isoformat()[:19]
    assert owner(neglected) == rep.person_id
    # A day later it falls; the lock holds.
    age(stack, 1.1, neglected, locked)
    signal(company, rep, pool_id)
    until(lambda: owner(neglected) == "", 90)
    assert owner(locked) == rep.person_id
    change = company.admin.get(f"customers/{neglected}/ownershipChanges")["changes"][0]
    assert (change["cause"], change["reason"]) == ("OWNERSHIP_CAUSE_RECLAIM", "超过90天未跟进")


def signal(company: Company, rep: Desk, pool_id: str) -> None:
    """Let the pool's sweep look without a changed rule, which would start every warning anew: end a lock in it."""
    customer_id = company.admin.post(
        "customers", name=fresh_name("锁"), phones=[{"number": fresh_mobile()}], poolId=pool_id
    )["customer"]["customerId"]
    rep.post("customers:claim", customerIds=[customer_id])
    rep.post(f"customers/{customer_id}:lock", days=1)
    rep.post(f"customers/{customer_id}:unlock")
