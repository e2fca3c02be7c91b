"""Roles, departments and accounts as administrators change them, and what follows at once."""

import pytest
from crm.identity.v1 import identity_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.chassis.errors import Unauthenticated
from services.chassis.ids import new_id
from services.chassis.tokens import Caller as TokenCaller
from services.chassis.tokens import Verifier
from services.identity.store.tables import Person
from services.kernel.visibility import covers
from tests.support.callers import Caller
from tests.support.running import emitted, event_of, take
from tests.support.staff import PASSWORD, Company
from tests.support.until import until

# One database is enough here: routing is tested beside.
pytestmark = pytest.mark.parametrize("company", ["main"], indirect=True)


def who(company: Company, login: str, password: str = PASSWORD) -> TokenCaller:
    """Return what a fresh token says of somebody."""
    token = company.exchange(company.sign_in(login, password).session_token).access_token
    return Verifier(company.runtime.settings.trusted_keys).verify(token)


def epoch(company: Company, person_id: str) -> int:
    """Return a person's epoch."""
    with company.runtime.store.transaction(company.tenant) as tx:
        return tx.session.get_one(Person, person_id).epoch


def is_told(company: Company, person_id: str, before: int) -> bool:
    """Tell whether every service is told of a higher epoch of a person."""
    told = company.service("customers")(company.stub.ListEpochs, pb.ListEpochsRequest()).epochs
    return any(item.person_id == person_id and item.epoch > before for item in told)


def make_role(company: Company, code: str, scope: "pb.DataScope.ValueType", *rights: str) -> pb.Role:
    role = pb.Role(code=code, name=f"角色{code}", rights=rights, scope=scope)
    made: pb.Role = company.admin(
        company.stub.CreateRole, pb.CreateRoleRequest(request_id=new_id(), role=role)
    ).role
    return made


def change_role(role: pb.Role, *paths: str) -> pb.UpdateRoleRequest:
    return pb.UpdateRoleRequest(request_id=new_id(), role=role, update_mask=FieldMask(paths=paths))


def departments(company: Company) -> dict[str, pb.Department]:
    listed = company.admin(company.stub.ListDepartments, pb.ListDepartmentsRequest()).departments
    return {item.name: item for item in listed}


def change_department(department: pb.Department, *paths: str) -> pb.UpdateDepartmentRequest:
    return pb.UpdateDepartmentRequest(
        request_id=new_id(), department=department, update_mask=FieldMask(paths=paths)
    )


def delete_department(company: Company, name: str) -> pb.DeleteDepartmentRequest:
    return pb.DeleteDepartmentRequest(request_id=new_id(), department_id=company.department(name))


def person_of(company: Company, person_id: str) -> pb.Person:
    found: pb.Person = company.admin(company.stub.GetPerson, pb.GetPersonRequest(person_id=person_id)).person
    return found


def actions(company: Company, subject_id: str = "") -> list[str]:
    entries = company.admin(
        company.stub.ListAuditEntries, pb.ListAuditEntriesRequest(subject_id=subject_id)
    ).entries
    return [entry.action for entry in entries]


def test_a_role_is_added_changed_and_deleted_and_its_holders_follow(company: Company) -> None:
    """F237."""
    role = make_role(company, "clerk", pb.DATA_SCOPE_SELF, "orders.view")
    person_id = company.add("chen", "clerk")
    assert who(company, "chen").rights == {"orders.view"}
    before = epoch(company, person_id)
    role.rights[:] = ["orders.view", "leads.view"]
    role.scope = pb.DATA_SCOPE_DEPARTMENT_ONLY
    changed = company.admin(company.stub.UpdateRole, change_role(role, "rights", "scope")).role
    assert (changed.version, changed.holder_count) == (2, 1)
    until(lambda: is_told(company, person_id, before))
    assert who(company, "chen").rights == {"orders.view", "leads.view"}
    assert who(company, "chen").scope == "department_only"
    assert (
        company.admin.refused(company.stub.UpdateRole, change_role(role, "name")).reason == "VERSION_CHANGED"
    )
    delete = pb.DeleteRoleRequest(request_id=new_id(), code="clerk")
    assert company.admin.refused(company.stub.DeleteRole, delete).reason == "ROLE_HELD"
    chen = person_of(company, person_id)
    chen.roles[:] = []
    company.admin(
        company.stub.UpdatePerson,
        pb.UpdatePersonRequest(request_id=new_id(), person=chen, update_mask=FieldMask(paths=["roles"])),
    )
    company.admin(company.stub.DeleteRole, delete)
    assert "clerk" not in [r.code for r in company.admin(company.stub.ListRoles, pb.ListRolesRequest()).roles]
    assert {"role_created", "role_changed", "role_deleted"} <= set(actions(company))


def test_what_a_role_may_not_be(company: Company) -> None:
    admin, stub = company.admin, company.stub

    def refusal(**fields: object) -> str:
        role = pb.Role(**{"code": "x1", "name": "甲", "scope": pb.DATA_SCOPE_SELF, **fields})  # type: ignore[arg-type]  # keywords of several types
        return admin.refused(stub.CreateRole, pb.CreateRoleRequest(request_id=new_id(), role=role)).reason

    assert refusal(code="1X") == "CODE_INVALID"
    assert refusal(rights=["tenants.delete"]) == "RIGHT_UNKNOWN"
    assert refusal(rights=["*"]) == "RIGHT_UNKNOWN"
    assert refusal(scope=pb.DATA_SCOPE_UNSPECIFIED) == "SCOPE_MISSING"
    assert refusal(code="admin") == "ROLE_EXISTS"
    everything = pb.Role(code="admin", rights=["orders.view"], version=1)
    assert admin.refused(stub.UpdateRole, change_role(everything, "rights")).reason == "ROLE_FIXED"
    preset = pb.DeleteRoleRequest(request_id=new_id(), code="sales_rep")
    assert admin.refused(stub.DeleteRole, preset).reason == "ROLE_PRESET"
    make_role(company, "personnel", pb.DATA_SCOPE_SELF, "roles.manage", "orders.view")
    company.add("hr", "personnel")
    hr = company.caller("hr")
    grab = pb.Role(code="mine", name="我的", rights=["orders.view", "leads.view"], scope=pb.DATA_SCOPE_SELF)
    request = pb.CreateRoleRequest(request_id=new_id(), role=grab)
    assert hr.refused(stub.CreateRole, request).reason == "RIGHTS_BEYOND_OWN"
    rep = pb.Role(code="sales_rep", rights=["orders.view"], version=1)
    assert hr.refused(stub.UpdateRole, change_role(rep, "rights")).reason == "RIGHTS_BEYOND_OWN"


def test_heads_see_what_they_head_and_regions_what_is_named(company: Company) -> None:
    """F238, F245: scopes subordinates and regions travel in the token as paths."""
    make_role(company, "leader", pb.DATA_SCOPE_SUBORDINATES, "orders.view", "people.view")
    make_role(company, "regional", pb.DATA_SCOPE_REGIONS, "orders.view")
    head_id = company.add("lead", "leader", department="华东")
    assert who(company, "lead").paths == ()
    south = departments(company)["华南"]
    south.head_id = head_id
    before = epoch(company, head_id)
    company.admin(company.stub.UpdateDepartment, change_department(south, "head_id"))
    until(lambda: is_told(company, head_id, before))
    lead = who(company, "lead")
    assert lead.paths == (south.path,)
    assert covers(lead, new_id(), f"{south.path}x/")
    assert not covers(lead, new_id(), departments(company)["华东"].path)
    company.add("far", "sales_rep", department="华南")
    seen = company.caller("lead")(company.stub.ListPeople, pb.ListPeopleRequest()).people
    assert [person.login for person in seen] == ["far", "lead"]
    roving = pb.Person(
        login="rove",
        name="巡",
        roles=["regional"],
        department_id=company.department("华东"),
        region_department_ids=[south.department_id],
    )
    request = pb.CreatePersonRequest(request_id=new_id(), person=roving, password=PASSWORD)
    company.admin(company.stub.CreatePerson, request)
    assert who(company, "rove").paths == (south.path,)


def test_a_move_takes_everything_below_along_at_once(company: Company) -> None:
    """F245, F246, F249: the paths of departments, people and heads follow."""
    company.add_department("上海", parent="华东")
    company.add_department("浦东", parent="上海")
    person_id = company.add("li", "sales_manager", department="浦东")
    before = epoch(company, person_id)
    tree = departments(company)
    shanghai = tree["上海"]
    shanghai.parent_id = tree["华南"].department_id
    shanghai.name = "沪"
    moved = company.admin(
        company.stub.UpdateDepartment, change_department(shanghai, "parent_id", "name")
    ).department
    assert moved.path == f"{tree['华南'].path}{shanghai.department_id}/"
    path = who(company, "li").department_path
    assert path == f"{moved.path}{tree['浦东'].department_id}/"
    until(lambda: is_told(company, person_id, before))
    told = emitted(company.runtime.store, company.tenant, "person_saved")
    assert told[-1]["departmentPath"] == path
    below = departments(company)["浦东"]
    moved.parent_id = below.department_id
    refused = company.admin.refused(company.stub.UpdateDepartment, change_department(moved, "parent_id"))
    assert refused.reason == "DEPARTMENT_LOOP"
    root = departments(company)["云海"]
    root.parent_id = below.department_id
    refused = company.admin.refused(company.stub.UpdateDepartment, change_department(root, "parent_id"))
    assert refused.reason == "DEPARTMENT_ROOT"


def test_departments_stand_in_their_order_and_go_only_when_empty(company: Company) -> None:
    """F246."""
    admin, stub = company.admin, company.stub
    tree = departments(company)
    east = tree["华东"]
    east.position = 5
    east.posts[:] = ["销售", "主管", "销售"]
    east = admin(stub.UpdateDepartment, change_department(east, "position", "posts")).department
    assert list(east.posts) == ["销售", "主管"]
    assert list(departments(company)) == ["云海", "华南", "华东"]
    person_id = company.add("li", "sales_rep", department="华东")
    li = person_of(company, person_id)
    li.post = "司机"
    update = pb.UpdatePersonRequest(request_id=new_id(), person=li, update_mask=FieldMask(paths=["post"]))
    assert admin.refused(stub.UpdatePerson, update).reason == "POST_UNKNOWN"
    update.person.post = "销售"
    admin(stub.UpdatePerson, update)
    east.posts[:] = ["主管"]
    refused = admin.refused(stub.UpdateDepartment, change_department(east, "posts"))
    assert refused.reason == "POST_HELD"
    assert departments(company)["华东"].person_count == 1
    assert (
        admin.refused(stub.DeleteDepartment, delete_department(company, "华东")).reason
        == "DEPARTMENT_NOT_EMPTY"
    )
    assert (
        admin.refused(stub.DeleteDepartment, delete_department(company, "云海")).reason == "DEPARTMENT_ROOT"
    )
    admin(stub.RetirePerson, pb.RetirePersonRequest(request_id=new_id(), person_id=person_id))
    admin(stub.DeleteDepartment, delete_department(company, "华东"))
    assert list(departments(company)) == ["云海", "华南"]
    assert person_of(company, person_id).department_id == departments(company)["云海"].department_id


def test_who_left_cannot_sign_in_heads_nothing_and_can_come_back(company: Company) -> None:
    admin, stub = company.admin, company.stub
    person_id = company.add("li", "sales_rep", department="华东", extension="1001")
    east = departments(company)["华东"]
    east.head_id = person_id
    admin(stub.UpdateDepartment, change_department(east, "head_id"))
    secret = company.sign_in("li").session_token
    left = admin(stub.RetirePerson, pb.RetirePersonRequest(request_id=new_id(), person_id=person_id)).person
    assert (left.active, left.extension, left.HasField("leave_time")) == (False, "", True)
    assert departments(company)["华东"].head_id == ""
    with pytest.raises(Unauthenticated):
        company.exchange(secret)
    # The extension is free for the next one.
    company.add("wang", "sales_rep", extension="1001")
    left.active = True
    back = admin(
        stub.UpdatePerson,
        pb.UpdatePersonRequest(request_id=new_id(), person=left, update_mask=FieldMask(paths=["active"])),
    ).person
    assert (back.active, back.HasField("leave_time")) == (True, False)
    company.sign_in("li")
    assert {"person_left", "account_enabled", "signed_in"} <= set(actions(company, person_id))


def test_a_reset_and_a_forced_sign_out_end_every_session(company: Company) -> None:
    """F248, F251."""
    admin, stub = company.admin, company.stub
    person_id = company.add("li", "sales_rep")
    secret, before = company.sign_in("li").session_token, epoch(company, person_id)
    admin(stub.EndSessions, pb.EndSessionsRequest(request_id=new_id(), person_id=person_id))
    with pytest.raises(Unauthenticated):
        company.exchange(secret)
    until(lambda: is_told(company, person_id, before))
    secret = company.sign_in("li").session_token
    easy = pb.ResetPasswordRequest(request_id=new_id(), person_id=person_id, password="1234567890")
    assert admin.refused(stub.ResetPassword, easy).reason == "PASSWORD_COMMON"
    fresh = pb.ResetPasswordRequest(request_id=new_id(), person_id=person_id, password="another good one")
    admin(stub.ResetPassword, fresh)
    with pytest.raises(Unauthenticated):
        company.exchange(secret)
    assert company.gateway.refused(
        stub.SignIn, pb.SignInRequest(tenant=company.slug, login="li", password=PASSWORD)
    )
    company.sign_in("li", "another good one")
    company.add("boss", "director")
    outside = company.caller("boss").refused(stub.ResetPassword, fresh)
    assert outside.reason == "RIGHT_MISSING"


def test_everybody_changes_the_own_profile_and_password(company: Company) -> None:
    """F253."""
    stub = company.stub
    company.add("li", "sales_rep")
    token = company.exchange(company.sign_in("li").session_token).access_token
    me = Caller(lambda: token)
    changed = me(
        stub.UpdateMe,
        pb.UpdateMeRequest(
            request_id=new_id(),
            name="李雷",
            mobile="13800138000",
            update_mask=FieldMask(paths=["name", "mobile"]),
        ),
    ).person
    assert (changed.name, changed.mobile) == ("李雷", "+8613800138000")
    roles = pb.UpdateMeRequest(request_id=new_id(), update_mask=FieldMask(paths=["roles"]))
    assert me.refused(stub.UpdateMe, roles).reason == "UPDATE_MASK_INVALID"

    def change(old: str, new: str) -> pb.ChangePasswordRequest:
        return pb.ChangePasswordRequest(request_id=new_id(), old_password=old, new_password=new)

    assert me.refused(stub.ChangePassword, change(PASSWORD, PASSWORD)).reason == "PASSWORD_SAME"
    assert me.refused(stub.ChangePassword, change(PASSWORD, "short")).reason == "PASSWORD_LENGTH"
    wrong = me.refused(stub.ChangePassword, change("not this one, sure", "another good one"))
    assert wrong.reason == "PASSWORD_WRONG"
    me(stub.ChangePassword, change(PASSWORD, "another good one"))
    company.sign_in("li", "another good one")
    for _ in range(10):
        guess = me.refused(stub.ChangePassword, change("guessing the old one", "a third good one"))
    assert guess.reason == "PASSWORD_WRONG"
    locked = me.refused(stub.ChangePassword, change("another good one", "a third good one"))
    assert locked.reason == "INVALID_CREDENTIALS"


def test_who_manages_people_does_so_within_the_own_scope(company: Company) -> None:
    admin, stub = company.admin, company.stub
    role = make_role(company, "east_hr", pb.DATA_SCOPE_DEPARTMENT, "people.view", "people.manage")
    company.add("hr", role.code, department="华东")
    outsider = company.add("qian", department="华南")
    insider = company.add("sun", department="华东")
    hr = company.caller("hr")
    end = pb.EndSessionsRequest(request_id=new_id(), person_id=outsider)
    assert hr.refused(stub.EndSessions, end).reason == "PERSON_NOT_FOUND"
    sun = person_of(company, insider)
    sun.department_id = company.department("华南")
    move = pb.UpdatePersonRequest(
        request_id=new_id(), person=sun, update_mask=FieldMask(paths=["department_id"])
    )
    assert hr.refused(stub.UpdatePerson, move).reason == "OUT_OF_SCOPE"
    admin(stub.UpdatePerson, move)


def test_the_staff_list_is_searched_by_name_and_department(company: Company) -> None:
    company.add_department("上海", parent="华东")
    company.add("li", "sales_rep", department="上海")
    company.add("wang", "sales_rep", department="华南")

    def logins(department_id: str = "", query: str = "") -> list[str]:
        request = pb.ListPeopleRequest(department_id=department_id, query=query)
        found = company.admin(company.stub.ListPeople, request).people
        return [person.login for person in found]

    assert logins(department_id=company.department("华东")) == ["li"]
    assert logins(query="WAN") == ["wang"]
    assert logins(query="%") == []
    unknown = pb.ListPeopleRequest(department_id=new_id())
    assert company.admin.refused(company.stub.ListPeople, unknown).reason == "DEPARTMENT_NOT_FOUND"


def test_the_audit_takes_what_other_services_account_for_and_forgets_nothing(company: Company) -> None:
    from services.identity.events import handlers

    store, subject = company.runtime.store, new_id()
    data = {"action": "number_revealed", "subjectId": subject, "details": {"reason": "回访"}}
    event = event_of(company.tenant, "customers", "audited", data)
    for _ in range(2):
        take(store, handlers, event)
    request = pb.ListAuditEntriesRequest(action="number_revealed", subject_id=subject)
    (entry,) = company.admin(company.stub.ListAuditEntries, request).entries
    assert (entry.service, entry.details[0].name, entry.details[0].value) == ("customers", "reason", "回访")
    for statement in ("UPDATE identity.audit SET action = 'x'", "DELETE FROM identity.audit"):
        with pytest.raises(DBAPIError, match="append-only"), store.transaction(company.tenant) as tx:
            tx.session.execute(text(statement))
    company.add("li", "sales_rep")
    assert company.caller("li").refused(company.stub.ListAuditEntries, request).reason == "RIGHT_MISSING"
