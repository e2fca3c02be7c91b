"""Story: a neglected customer returns to the pool (F8-F17, F21, F24, F187).

The 90 days are skipped, not slept, in tests/integration/customers against the same workflow; here the running
system claims, returns and hides.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.desk import Desk, Refused


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
