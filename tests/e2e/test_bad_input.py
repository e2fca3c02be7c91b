"""Bad input gets a clear error that names the field; a wrong session gets nothing."""

import httpx
import pytest

from services.chassis.ids import new_id
from tests.e2e.company import PASSWORD, Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.conftest import Operator
from tests.e2e.desk import Desk, Refused


@pytest.mark.parametrize(
    ("number", "reason"),
    [("1380013800", "PHONE_LENGTH"), ("138001380001", "PHONE_LENGTH"), ("12345678901", "PHONE_PREFIX")],
)
def test_a_malformed_phone_is_refused_with_its_field_and_nothing_is_kept(
    company: Company, number: str, reason: str
) -> None:
    """F239, F240: and the name that came with it is not held."""
    rep = company.hire("li", "李雷", "sales_rep")
    name = fresh_name("坏号")
    with pytest.raises(Refused) as refused:
        rep.post("customers", name=name, phones=[{"number": fresh_mobile()}, {"number": number}])
    assert refused.value.status == 400
    assert refused.value.reason == reason
    assert "phones[1].number" in refused.value.fields
    customer_of(rep, name, fresh_mobile())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"name": "x"', "JSON"),
        (b"[]", "JSON"),
        (b'{"name": 5}', "name"),
        (b'{"nam": "x"}', "nam"),
        (b'{"phones": "x"}', "phones"),
        (b"\xff\xfe", "JSON"),
    ],
)
def test_malformed_json_is_refused_and_says_where(company: Company, body: bytes, says: str) -> None:
    response = company.admin.http.post(
        "/api/v1/customers", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert says in response.text


def test_no_session_an_ended_one_and_a_made_up_one_get_nothing(company: Company) -> None:
    """F243."""
    rep = company.hire("li", "李雷", "sales_rep")
    for headers in ({}, {"Authorization": "Bearer main.made-up"}, {"Cookie": "gonghai_session=made-up"}):
        assert httpx.get(f"{company.url}/api/v1/customers", headers=headers).status_code == 401
    assert rep.http.delete("/api/v1/session").is_success
    with pytest.raises(Refused) as refused:
        rep.get("customers")
    assert refused.value.status == 401


def test_a_disabled_account_is_out_and_cannot_come_back(company: Company) -> None:
    """F247."""
    rep = company.hire("li", "李雷", "sales_rep")
    person = company.admin.get(f"people/{rep.person_id}")["person"]
    company.admin.patch(f"people/{rep.person_id}", person={**person, "active": False}, updateMask="active")
    with pytest.raises(Refused) as refused:
        Desk.sign_in(company.url, company.slug, "li", PASSWORD)
    assert refused.value.status == 401


def test_another_tenants_records_do_not_exist(company: Company, operator: Operator) -> None:
    """A foreign tenant sees nothing, by list or by id, also when it lives in the other database."""
    rep = company.hire("li", "李雷", "sales_rep")
    customer = customer_of(rep, fresh_name("他人"), fresh_mobile())
    for database in ("main", "south"):
        stranger = operator.found("别家", database)
        with pytest.raises(Refused) as refused:
            stranger.admin.get(f"customers/{customer['customerId']}")
        assert refused.value.status == 404
        assert stranger.admin.get("customers", view="CUSTOMER_VIEW_ALL").get("customers", []) == []
        (result,) = stranger.admin.post("customers:claim", customerIds=[customer["customerId"]])["results"]
        assert result["reason"] == "CUSTOMER_NOT_FOUND"
        stranger.close()
    assert rep.get(f"customers/{customer['customerId']}")["customer"]["ownerId"] == rep.person_id


def test_a_session_cookie_alone_changes_nothing_from_another_site(company: Company) -> None:
    """Cross-site requests carry the cookie but neither our header nor our origin."""
    response = company.admin.http.post(
        "/api/v1/pools",
        json={"requestId": new_id(), "pool": {"name": "偷建"}},
        headers={"X-Requested-With": "", "Origin": "http://evil.example"},
    )
    assert response.status_code == 403
    assert "偷建" not in [pool["name"] for pool in company.admin.get("pools").get("pools", [])]


def test_a_rep_may_not_do_what_only_a_manager_may(company: Company) -> None:
    """F235: refused by the service, not by the menu."""
    rep = company.hire("li", "李雷", "sales_rep")
    with pytest.raises(Refused) as refused:
        rep.post("pools", pool={"name": "私设"})
    assert refused.value.status == 403
    with pytest.raises(Refused) as refused:
        rep.get("people")
    assert refused.value.status == 403
