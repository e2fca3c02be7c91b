"""Who sees which customers, and which numbers."""

import pytest
from crm.customers.v1 import customers_pb2 as pb

from services.chassis.ids import new_id
from tests.integration.customers.office import EAST, HEAD, MANAGER, REP, WEST, Office


def test_everybody_sees_what_the_scope_gives(office: Office) -> None:
    """A row is visible by owner, by department path, or by pool."""
    east, west = office.hire(path=EAST), office.hire(path=WEST)
    east.create("华东公司")
    west.create("华西公司")
    manager = office.hire(MANAGER, scope="all")
    manager.create("公海公司", pool_id=office.pool(manager).pool_id)
    views = {
        "east": (east, {"华东公司", "公海公司"}),
        "superior": (office.hire(REP, EAST, "department"), {"华东公司", "公海公司"}),
        "head": (office.hire(REP, HEAD, "department"), {"华东公司", "华西公司", "公海公司"}),
        "sibling": (office.hire(REP, "root/north/", "department"), {"公海公司"}),
        "director": (office.hire(REP, WEST, "all"), {"华东公司", "华西公司", "公海公司"}),
    }
    for name, (person, expected) in views.items():
        assert set(person.listed(pb.CUSTOMER_VIEW_ALL)) == expected, name
    assert east.listed(pb.CUSTOMER_VIEW_MINE) == east.listed(pb.CUSTOMER_VIEW_UNSPECIFIED) == ["华东公司"]
    assert east.listed(pb.CUSTOMER_VIEW_POOL) == ["公海公司"]


def test_customers_follow_their_owner_into_another_department(office: Office) -> None:
    """F249: the manager there sees them, and registrations that wait, at once; the one before no more."""
    here, there = office.hire(MANAGER, EAST, "department"), office.hire(MANAGER, WEST, "department")
    rep, colleague = office.hire(path=EAST), office.hire(path=EAST)
    rep.create("调动者的公司")
    colleague.create("同事的公司")
    office.settings(office.hire(MANAGER, HEAD, "all"), registration_required=True)
    rep.create("调动者的报备", approver_id=office.hire(MANAGER, HEAD).id)
    office.move(rep, WEST)
    for view, left, moved in (
        (pb.CUSTOMER_VIEW_ALL, ["同事的公司"], ["调动者的公司"]),
        (pb.CUSTOMER_VIEW_REGISTRATIONS, [], ["调动者的报备"]),
    ):
        assert (here.listed(view), there.listed(view)) == (left, moved)


def test_what_is_not_visible_is_not_found(office: Office) -> None:
    customer_id = office.hire().create().customer_id
    stranger = office.hire()
    for request in (
        pb.GetCustomerRequest(customer_id=customer_id),
        pb.ListFollowUpsRequest(customer_id=customer_id),
        pb.ListOwnershipChangesRequest(customer_id=customer_id),
        pb.LockCustomerRequest(request_id=new_id(), customer_id=customer_id),
    ):
        assert stranger.refused(request).reason == "CUSTOMER_NOT_FOUND"
    assert stranger.refused(pb.GetCustomerRequest(customer_id=new_id())).reason == "CUSTOMER_NOT_FOUND"
    assert stranger.refused(pb.GetCustomerRequest(customer_id="1")).field == "customer_id"


def test_numbers_of_others_are_masked_everywhere(office: Office) -> None:
    """F59."""
    owner = office.hire()
    customer_id = owner.create(
        "号码公司",
        "021-55556666-801",
        contacts=[pb.ContactInput(name="李雷", phones=[pb.PhoneInput(number="13800138000")])],
    ).customer_id
    superior = office.hire(REP, HEAD, "department")
    seen = superior.get(customer_id)
    phones = [*seen.phones, *seen.contacts[0].phones]
    assert [(phone.number, phone.extension, phone.masked) for phone in phones] == [
        ("+86215****6666", "", True),
        ("+86138****8000", "", True),
    ]
    # By a whole number it can be found, not read.
    page = superior(pb.ListCustomersRequest(view=pb.CUSTOMER_VIEW_ALL, query="13800138000")).customers
    assert [(item.name, item.phones[0].masked) for item in page] == [("号码公司", True)]
    director = office.hire(REP | {"numbers.view_all"}, scope="all")
    assert director.get(customer_id).contacts[0].phones[0].number == "+8613800138000"


def test_customers_are_found_by_part_of_the_name_or_a_whole_number(office: Office) -> None:
    """F3: numbers of contacts too."""
    rep = office.hire()
    rep.create(
        "东方 100% 纯棉", contacts=[pb.ContactInput(name="李", phones=[pb.PhoneInput(number="13800138000")])]
    )
    rep.create("Eastern_Trading", "021-55556666")
    found = {
        query: rep.listed(pb.CUSTOMER_VIEW_MINE, query=query)
        for query in (
            "东方",
            "100%",
            "eastern",
            "n_T",
            "_",
            "138 0013 8000",
            "02155556666",
            "1380013",
            "西方",
        )
    }
    assert found == {
        "东方": ["东方 100% 纯棉"],
        "100%": ["东方 100% 纯棉"],
        "eastern": ["Eastern_Trading"],
        "n_T": ["Eastern_Trading"],
        "_": ["Eastern_Trading"],
        "138 0013 8000": ["东方 100% 纯棉"],
        "02155556666": ["Eastern_Trading"],
        "1380013": [],
        "西方": [],
    }


def test_lists_come_newest_first_page_by_page(office: Office) -> None:
    rep = office.hire()
    names = [rep.create(f"公司{number}号").name for number in range(5)]
    listed, token = [], ""
    for _ in range(3):
        page = rep(pb.ListCustomersRequest(page_size=2, page_token=token))
        listed += [customer.name for customer in page.customers]
        token = page.next_page_token
    assert (listed, token) == (names[::-1], "")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListCustomersRequest(page_size=201), "page_size"),
        (pb.ListCustomersRequest(page_token="x"), "page_token"),
        (pb.ListCustomersRequest(pool_id="x"), "pool_id"),
        (pb.ListCustomersRequest(view=9), "view"),  # type: ignore[arg-type]  # from a newer client
        (pb.ListCustomersRequest(query="长" * 101), "query"),
    ],
)
def test_a_bad_list_names_its_field(office: Office, request_: pb.ListCustomersRequest, field: str) -> None:
    assert office.hire().refused(request_).field == field
