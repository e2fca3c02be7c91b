"""The demo's company: made up, but by the same rules as a real one."""

from deploy.local.samples import ADMIN, CALLER, LAST_NAME, PASSWORD, STAFF, composed_customers
from services.identity.domain.people import check_password, parse_extension, parse_login, parse_mobile
from services.identity.domain.rights import PRESET_ROLES
from services.kernel.phones import parse_phone


def test_the_composed_customers_differ_and_are_the_same_each_time() -> None:
    customers = list(composed_customers(199))
    assert customers == list(composed_customers(199))
    names = {customer["name"] for customer in customers} | {LAST_NAME}
    numbers = [
        parse_phone(phone["number"], "number").e164
        for customer in customers
        for holder in (customer, *customer["contacts"])
        for phone in holder["phones"]
    ]
    assert len(names) == 200
    assert len({*numbers, parse_phone(CALLER, "number").e164}) == 2 * 199 + 1


def test_the_users_could_be_real() -> None:
    check_password(PASSWORD, "password")
    people = (ADMIN, *STAFF)
    assert len({parse_login(user.login, "login") for user in people}) == len(people)
    assert {user.role for user in people} == {role.code for role in PRESET_ROLES}
    for values in (
        [parse_mobile(user.mobile, "mobile") for user in STAFF],
        [parse_extension(user.extension, "extension") for user in STAFF if user.extension],
    ):
        assert len(set(values)) == len(values)
