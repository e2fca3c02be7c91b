"""People, roles and departments, over a real channel in both databases."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from crm.identity.v1 import identity_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select, text

from services.chassis.errors import AppError, Conflict, Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.identity.store.tables import Audit
from tests.support.staff import PASSWORD, Company, new_company


def creation(company: Company, **fields: object) -> pb.CreatePersonRequest:
    person = {
        "login": "li",
        "name": "李雷",
        "department_id": company.department(""),
        "roles": ["sales_rep"],
        **fields,
    }
    password = str(person.pop("password", PASSWORD))
    return pb.CreatePersonRequest(request_id=new_id(), person=pb.Person(**person), password=password)  # type: ignore[arg-type]  # any field


def update(person: pb.Person, *paths: str) -> pb.UpdatePersonRequest:
    return pb.UpdatePersonRequest(request_id=new_id(), person=person, update_mask=FieldMask(paths=paths))


def events(company: Company, aggregate: str) -> list[dict[str, object]]:
    """Return the data of the events about a record that wait in the outbox."""
    outbox = company.runtime.store.tables["outbox"]
    with company.runtime.store.transaction(company.tenant) as tx:
        bodies = tx.session.scalars(
            select(outbox.c.body).where(outbox.c.tenant_id == company.tenant.id).order_by(outbox.c.id)
        ).all()
    return [body["data"] | {"type": body["type"]} for body in bodies if body["aggregate"] == aggregate]


def test_a_new_person_signs_in_and_others_are_told(company: Company) -> None:
    request = creation(company, mobile="138 0013 8000", extension="1001", login=" Li.Lei ")
    created = company.admin(company.stub.CreatePerson, request).person
    assert (created.login, created.mobile, created.extension) == ("li.lei", "+8613800138000", "1001")
    assert (created.active, created.version, created.scope) == (True, 1, pb.DATA_SCOPE_SELF)
    assert company.sign_in("li.lei").person.name == "李雷"
    (event,) = events(company, created.person_id)
    assert event["type"] == "person_saved"
    assert (event["extension"], event["active"], event["rights"]) == ("1001", True, list(created.rights))
    again = company.admin(company.stub.CreatePerson, request).person
    assert again.person_id == created.person_id


def test_the_kept_request_does_not_help_to_guess_the_password(company: Company) -> None:
    request = creation(company)
    company.admin(company.stub.CreatePerson, request)
    other = pb.CreatePersonRequest()
    other.CopyFrom(request)
    other.password = "another one, long"
    # The digest knows nothing of the password, so this is the same request.
    assert company.admin(company.stub.CreatePerson, other).person.login == "li"
    company.sign_in("li")


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"mobile": "1380013800"}, "person.mobile", "PHONE_LENGTH"),
        ({"mobile": "12345678901"}, "person.mobile", "PHONE_PREFIX"),
        ({"mobile": "021-61234567"}, "person.mobile", "MOBILE_REQUIRED"),
        ({"login": "李"}, "person.login", "LOGIN_INVALID"),
        ({"name": "  "}, "person.name", "NAME_LENGTH"),
        ({"extension": "10a"}, "person.extension", "EXTENSION_INVALID"),
        ({"roles": ["king"]}, "person.roles", "ROLE_UNKNOWN"),
        ({"department_id": "sales"}, "person.department_id", "NOT_A_UUID"),
        ({"department_id": new_id()}, "person.department_id", "DEPARTMENT_UNKNOWN"),
        ({"password": "123456789"}, "password", "PASSWORD_LENGTH"),
        ({"password": ""}, "password", "PASSWORD_LENGTH"),
    ],
)
def test_a_bad_field_is_refused_by_name(
    company: Company, fields: dict[str, object], field: str, reason: str
) -> None:
    """F239, F240."""
    error = company.admin.refused(company.stub.CreatePerson, creation(company, **fields))
    assert isinstance(error, InvalidInput)
    assert (error.field, error.reason) == (field, reason)


def test_login_and_extension_belong_to_one_person_also_when_two_ask_at_once(company: Company) -> None:
    admin = company.admin

    def create(number: int) -> str:
        request = creation(company, login=f"rep{number}", extension="1001")
        try:
            admin(company.stub.CreatePerson, request)
        except AppError as error:
            return error.reason
        return "created"

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(create, range(4)))
    assert sorted(outcomes) == ["EXTENSION_TAKEN"] * 3 + ["created"]
    taken = f"rep{outcomes.index('created')}"
    assert admin.refused(company.stub.CreatePerson, creation(company, login=taken)).reason == "LOGIN_TAKEN"


def test_tenants_of_one_database_do_not_meet(
    company: Company, address: str, issuer_keys: Mapping[str, tuple[str, str]]
) -> None:
    """The same login and extension are free in another tenant, and its people are not found from here."""
    other = new_company(company.runtime, address, issuer_keys, company.tenant.database)
    ids = [item.add("li", "sales_rep", extension="1001", mobile="13800138000") for item in (company, other)]
    foreign = pb.GetPersonRequest(person_id=ids[1])
    assert isinstance(company.admin.refused(company.stub.GetPerson, foreign), NotFound)
    assert isinstance(company.service("orders").refused(company.stub.GetPerson, foreign), NotFound)
    resolve = pb.ResolveMobileRequest(person_id=ids[1])
    assert isinstance(company.service("telephony").refused(company.stub.ResolveMobile, resolve), NotFound)
    changed = pb.Person(person_id=ids[1], name="李", version=1)
    assert isinstance(company.admin.refused(company.stub.UpdatePerson, update(changed, "name")), NotFound)
    elsewhere = creation(company, login="zhao", department_id=other.department(""))
    assert company.admin.refused(company.stub.CreatePerson, elsewhere).reason == "DEPARTMENT_UNKNOWN"
    logins = {
        person.login for person in company.admin(company.stub.ListPeople, pb.ListPeopleRequest()).people
    }
    assert logins == {"admin", "li"}


def test_a_change_takes_only_what_the_mask_names_and_the_version_that_was_read(company: Company) -> None:
    admin = company.admin
    created = admin(company.stub.CreatePerson, creation(company, extension="1001")).person
    given = pb.Person(person_id=created.person_id, name="韩梅梅", mobile="13900139000", version=1)
    changed = admin(company.stub.UpdatePerson, update(given, "mobile")).person
    assert (changed.name, changed.mobile, changed.extension) == ("李雷", "+8613900139000", "1001")
    assert changed.version == 2
    stale = admin.refused(company.stub.UpdatePerson, update(given, "name"))
    assert isinstance(stale, Conflict)
    assert (stale.reason, stale.metadata) == ("VERSION_CHANGED", {"version": "2"})
    for paths in ((), ("login",), ("name", "password")):
        refused = admin.refused(company.stub.UpdatePerson, update(given, *paths))
        assert refused.reason == "UPDATE_MASK_INVALID"
    unknown = pb.Person(person_id=new_id(), name="谁", version=1)
    assert isinstance(admin.refused(company.stub.UpdatePerson, update(unknown, "name")), NotFound)


def test_a_change_of_rights_raises_the_epoch_and_is_told(company: Company) -> None:
    """F237: live sessions get the new rights with their next token."""
    person_id = company.add("li", "sales_rep")
    li = company.caller("li")
    assert isinstance(li.refused(company.stub.ListPeople, pb.ListPeopleRequest()), Forbidden)
    company.admin(
        company.stub.UpdatePerson,
        update(pb.Person(person_id=person_id, roles=["sales_manager", "sales_rep"], version=1), "roles"),
    )
    assert li(company.stub.ListPeople, pb.ListPeopleRequest()).people
    first, second = events(company, person_id)
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert "approvals.decide" in second["rights"]  # type: ignore[operator]  # a list


def test_nobody_gives_or_takes_more_than_the_own_rights(company: Company) -> None:
    """No escalation: a manager of people without the other rights can neither make nor unmake an administrator."""
    with company.runtime.store.transaction(company.tenant) as tx:
        tx.session.execute(
            text(
                "INSERT INTO identity.role (tenant_id, code, name, scope, rights)"
                " VALUES (:tenant, 'hr', '人事', 'all', ARRAY['people.manage', 'people.view'])"
            ),
            {"tenant": company.tenant.id},
        )
    company.add("hr", "hr")
    hr = company.caller("hr")
    refused = hr.refused(company.stub.CreatePerson, creation(company, roles=["admin"]))
    assert isinstance(refused, Forbidden)
    assert refused.reason == "RIGHTS_BEYOND_OWN"
    created = hr(company.stub.CreatePerson, creation(company, login="hr2", roles=["hr"])).person
    promoted = pb.Person(person_id=created.person_id, roles=["hr", "director"], version=1)
    assert hr.refused(company.stub.UpdatePerson, update(promoted, "roles")).reason == "RIGHTS_BEYOND_OWN"
    admin_id = company.admin(company.stub.GetMe, pb.GetMeRequest()).person.person_id
    taken_over = pb.Person(person_id=admin_id, mobile="13900139000", version=1)
    assert hr.refused(company.stub.UpdatePerson, update(taken_over, "mobile")).reason == "RIGHTS_BEYOND_OWN"


def test_nobody_locks_the_own_account_out(company: Company) -> None:
    admin = company.admin
    me = admin(company.stub.GetMe, pb.GetMeRequest()).person
    me.active = False
    me.roles[:] = ["sales_rep"]
    for path in ("active", "roles"):
        refused = admin.refused(company.stub.UpdatePerson, update(me, path))
        assert isinstance(refused, RuleViolation)
        assert refused.reason == "OWN_ACCOUNT"
    me.name = "老板"
    assert admin(company.stub.UpdatePerson, update(me, "name")).person.name == "老板"


def test_the_staff_list_follows_the_scope_and_pages_by_login(company: Company) -> None:
    """F238."""
    company.add("wang", "sales_manager", department="华东")
    company.add("li", "sales_rep", department="华东", mobile="13800138000")
    company.add("zhao", "sales_rep", department="华南")
    first = company.admin(company.stub.ListPeople, pb.ListPeopleRequest(page_size=3))
    second = company.admin(
        company.stub.ListPeople, pb.ListPeopleRequest(page_size=3, page_token=first.next_page_token)
    )
    assert [person.login for person in [*first.people, *second.people]] == ["admin", "li", "wang", "zhao"]
    assert first.people[1].mobile == "+8613800138000"
    assert second.next_page_token == ""
    seen = company.caller("wang")(company.stub.ListPeople, pb.ListPeopleRequest()).people
    assert [(person.login, person.mobile) for person in seen] == [("li", "+86138****8000"), ("wang", "")]
    outside = pb.GetPersonRequest(person_id=second.people[0].person_id)
    assert isinstance(company.caller("wang").refused(company.stub.GetPerson, outside), NotFound)
    assert company.service("orders")(company.stub.GetPerson, outside).person.login == "zhao"


def test_everybody_knows_names_but_no_numbers(company: Company) -> None:
    company.add("li", "sales_rep", department="华东", mobile="13800138000")
    company.add("zhao", "sales_rep", department="华南")
    answer = company.caller("li")(company.stub.ListColleagues, pb.ListColleaguesRequest())
    assert {(item.name, item.department_name) for item in answer.colleagues} == {
        ("li 先生", "华东"),
        ("zhao 先生", "华南"),
        ("管理员", "云海"),
    }
    assert "138" not in str(answer)


def test_me_is_the_caller_in_full(company: Company) -> None:
    company.add("li", "sales_rep", department="华东", mobile="13800138000", extension="1001")
    me = company.caller("li")(company.stub.GetMe, pb.GetMeRequest())
    assert (me.tenant_name, me.person.login, me.person.mobile) == ("云海", "li", "+8613800138000")


def test_preset_roles_differ(company: Company) -> None:
    """F234."""
    listed = company.admin(company.stub.ListRoles, pb.ListRolesRequest()).roles
    assert [role.code for role in listed] == [
        "admin",
        "director",
        "finance",
        "operations",
        "sales_manager",
        "sales_rep",
        "service_agent",
    ]
    assert len({tuple(role.rights) for role in listed}) == 7


def test_the_nearest_holders_of_a_role_are_found_upward(company: Company) -> None:
    company.add_department("上海", parent="华东")
    company.add("zhou", "director")
    east = company.add("wang", "sales_manager", department="华东")
    other_east = company.add("wu", "sales_manager", department="华东")
    south = company.add("qian", "sales_manager", department="华南")
    rep = company.add("li", "sales_rep", department="上海")
    approvals = company.service("approvals")

    def holders(person_id: str, role: str) -> list[str]:
        request = pb.FindRoleHoldersRequest(person_id=person_id, role=role)
        return list(approvals(company.stub.FindRoleHolders, request).person_ids)

    assert holders(rep, "sales_manager") == [east, other_east]
    assert holders(south, "sales_manager") == []
    assert holders(east, "sales_manager") == [other_east]
    assert len(holders(rep, "director")) == 1
    assert holders(rep, "king") == []
    company.admin(
        company.stub.UpdatePerson,
        update(pb.Person(person_id=other_east, active=False, version=1), "active"),
    )
    assert holders(rep, "sales_manager") == [east]
    assert isinstance(
        approvals.refused(
            company.stub.FindRoleHolders, pb.FindRoleHoldersRequest(person_id=new_id(), role="admin")
        ),
        NotFound,
    )


def test_names_are_told_by_ids_to_who_writes_them_out(
    company: Company, address: str, issuer_keys: Mapping[str, tuple[str, str]]
) -> None:
    """F59: those of leavers too; of nobody else's people, and of 2000 at most."""
    rep, leaver = company.add("li", "sales_rep"), company.add("wang", "sales_rep")
    company.admin(
        company.stub.UpdatePerson, update(pb.Person(person_id=leaver, active=False, version=1), "active")
    )
    other = new_company(company.runtime, address, issuer_keys, company.tenant.database)
    foreign = other.add("zhou", "sales_rep")
    customers = company.service("customers")
    asked = pb.ListPersonNamesRequest(person_ids=[rep, leaver, foreign, new_id()])
    assert dict(customers(company.stub.ListPersonNames, asked).names).keys() == {rep, leaver}
    assert all(customers(company.stub.ListPersonNames, asked).names.values())
    many = pb.ListPersonNamesRequest(person_ids=[rep] * 2001)
    assert customers.refused(company.stub.ListPersonNames, many).reason == "TOO_MANY"
    wrong = customers.refused(company.stub.ListPersonNames, pb.ListPersonNamesRequest(person_ids=["?"]))
    assert wrong.metadata["field"] == "person_ids[0]"
    assert isinstance(company.service("orders").refused(company.stub.ListPersonNames, asked), Forbidden)


def test_a_mobile_is_resolved_for_telephony_only_and_audited(company: Company) -> None:
    person_id = company.add("li", "sales_rep", mobile="13800138000")
    request = pb.ResolveMobileRequest(person_id=person_id)
    assert isinstance(company.service("orders").refused(company.stub.ResolveMobile, request), Forbidden)
    assert isinstance(company.admin.refused(company.stub.ResolveMobile, request), Forbidden)
    answer = company.service("telephony", actor_id=person_id)(company.stub.ResolveMobile, request)
    assert answer.mobile == "+8613800138000"
    with company.runtime.store.transaction(company.tenant) as tx:
        rows = tx.session.scalars(select(Audit).where(Audit.action == "mobile_resolved")).all()
        mine = [(row.service, row.actor_id) for row in rows if row.subject_id == person_id]
    assert mine == [("telephony", person_id)]
