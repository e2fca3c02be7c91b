"""Sign-in, sessions and keys, over a real channel in both databases."""

import time
from datetime import timedelta

import pytest
from crm.identity.v1 import identity_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import func, select, update

from services.chassis.errors import AppError, Forbidden, Unauthenticated
from services.chassis.ids import new_id
from services.chassis.tokens import Verifier
from services.identity.store.tables import Audit, Person, Session
from services.identity.usecases.credentials import secret_hash
from tests.support.callers import Caller
from tests.support.staff import ADMIN_PASSWORD, PASSWORD, Company
from tests.support.until import until


def refusal(company: Company, tenant: str, login: str, password: str) -> AppError:
    return company.gateway.refused(
        company.stub.SignIn, pb.SignInRequest(tenant=tenant, login=login, password=password)
    )


def test_a_session_becomes_a_token_that_says_who_where_and_what(company: Company) -> None:
    """F243: the token carries tenant, database, rights, scope and department."""
    person_id = company.add("li", "sales_rep", department="华东")
    signed_in = company.sign_in(" LI ")
    assert signed_in.session_token.startswith(f"{company.tenant.database}.")
    exchanged = company.exchange(signed_in.session_token)
    caller = Verifier(company.runtime.settings.trusted_keys).verify(exchanged.access_token)
    assert (caller.tenant, caller.person_id, caller.scope) == (company.tenant, person_id, "self")
    assert caller.department_path.endswith(f"{company.department('华东')}/")
    assert "customers.claim" in caller.rights
    assert "people.manage" not in caller.rights


def test_only_a_hash_of_the_secret_is_stored(company: Company) -> None:
    secret = company.sign_in("admin", ADMIN_PASSWORD).session_token
    with company.runtime.store.transaction(company.tenant) as tx:
        for row in tx.session.scalars(select(Session).where(Session.tenant_id == company.tenant.id)):
            assert secret.encode() not in row.secret_hash
        assert tx.session.scalar(select(func.count()).where(Session.tenant_id == company.tenant.id))


def test_every_wrong_part_of_a_sign_in_gets_the_same_answer(company: Company) -> None:
    """An outsider learns neither which tenants nor which logins exist."""
    company.add("li", "sales_rep")
    answers = {
        str(refusal(company, *given))
        for given in (
            ("no-such-tenant", "li", PASSWORD),
            (company.slug, "nobody", PASSWORD),
            (company.slug, "li", "wrong password"),
            (company.slug, "li", ""),
            (company.slug, "li", "x" * 100_000),
            ("", "", ""),
        )
    }
    assert len(answers) == 1
    assert "INVALID_CREDENTIALS" in answers.pop()


def test_an_unknown_login_takes_as_long_as_a_wrong_password(company: Company) -> None:
    company.add("li", "sales_rep")

    guesses = {
        "known": (company.slug, "li", "wrong password"),
        "nobody": (company.slug, "nobody", "wrong password"),
        "nowhere": ("no-such-tenant", "li", "wrong password"),
    }
    fastest_s = dict.fromkeys(guesses, float("inf"))

    def alike() -> bool:
        # Side by side, so that a busy machine slows them all; the fastest of each says what the work costs.
        for name, given in guesses.items():
            started = time.perf_counter()
            refusal(company, *given)
            fastest_s[name] = min(fastest_s[name], time.perf_counter() - started)
        return min(fastest_s.values()) > max(fastest_s.values()) / 2

    until(alike)


def test_ten_failures_lock_an_account_for_a_while(company: Company) -> None:
    person_id = company.add("li", "sales_rep")
    for _ in range(10):
        refusal(company, company.slug, "li", "wrong password")
    locked = refusal(company, company.slug, "li", PASSWORD)
    assert locked.reason == "INVALID_CREDENTIALS"
    with company.runtime.store.transaction(company.tenant) as tx:
        actions = tx.session.scalars(select(Audit.action).where(Audit.subject_id == person_id)).all()
        assert "account_locked" in actions
        tx.session.execute(
            update(Person)
            .where(Person.id == person_id)
            .values(locked_until=Person.locked_until - timedelta(minutes=15))
        )
    assert company.sign_in("li").person.person_id == person_id


def test_a_success_forgets_the_failures_before_it(company: Company) -> None:
    company.add("li", "sales_rep")
    for _ in range(2):
        for _ in range(9):
            refusal(company, company.slug, "li", "wrong password")
        company.sign_in("li")


def test_a_session_ends_by_sign_out_and_by_its_time(company: Company) -> None:
    secret = company.sign_in("admin", ADMIN_PASSWORD).session_token
    other = company.sign_in("admin", ADMIN_PASSWORD)
    company.gateway(company.stub.SignOut, pb.SignOutRequest(session_token=secret))
    company.gateway(company.stub.SignOut, pb.SignOutRequest(session_token=secret))
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        company.exchange(secret)
    company.exchange(other.session_token)
    with company.runtime.store.transaction(company.tenant) as tx:
        tx.session.execute(
            update(Session)
            .where(Session.tenant_id == company.tenant.id)
            .values(expire_time=Session.expire_time - timedelta(hours=12))
        )
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        company.exchange(other.session_token)


def test_of_many_sessions_those_are_told_that_are_over(company: Company) -> None:
    """F251: a gateway asks at once for all its open pages, and hears what exchanging each would tell."""
    company.add("li", "sales_rep")
    person_id = company.add("wang", "admin")
    left, lives, expired = (company.sign_in("li").session_token for _ in range(3))
    disabled = company.sign_in("wang").session_token
    request = pb.CreateApiKeyRequest(request_id=new_id(), name="官网", rights=["leads.capture"])
    key = company.admin(company.stub.CreateApiKey, request).secret
    given = [left, lives, "", "main.nobody", expired, disabled, key, "nowhere.abc"]
    assert company.ended(*given) == ["", "main.nobody", "nowhere.abc"]
    company.gateway(company.stub.SignOut, pb.SignOutRequest(session_token=left))
    with company.runtime.store.transaction(company.tenant) as tx:
        its = Session.secret_hash == secret_hash(expired)
        past = Session.expire_time - timedelta(hours=12)
        tx.session.execute(update(Session).where(its).values(expire_time=past))
        tx.session.execute(update(Person).where(Person.id == person_id).values(active=False))
    over = company.ended(*given)
    assert over == [left, "", "main.nobody", expired, disabled, "nowhere.abc"]
    for secret in over:
        with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
            company.exchange(secret)
    for secret in (lives, key):
        company.exchange(secret)


def test_more_sessions_than_a_page_of_them_are_refused(company: Company) -> None:
    request = pb.CheckSessionsRequest(session_tokens=["main.x"] * 1001)
    assert company.gateway.refused(company.stub.CheckSessions, request).reason == "TOO_MANY_SESSIONS"


@pytest.mark.parametrize("secret", ["", "x", "main.", "nowhere.abc", "main.abc", "南.abc"])
def test_what_is_no_session_gets_nothing(company: Company, secret: str) -> None:
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        company.exchange(secret)


def test_a_disabled_account_cannot_sign_in_and_its_sessions_and_keys_end(company: Company) -> None:
    """F247."""
    person_id = company.add("wang", "admin")
    wang = company.caller("wang")
    key = wang(
        company.stub.CreateApiKey,
        pb.CreateApiKeyRequest(request_id=new_id(), name="官网", rights=["leads.capture"]),
    ).secret
    company.exchange(key)
    company.admin(
        company.stub.UpdatePerson,
        pb.UpdatePersonRequest(
            request_id=new_id(),
            person=pb.Person(person_id=person_id, active=False, version=1),
            update_mask=FieldMask(paths=["active"]),
        ),
    )
    assert refusal(company, company.slug, "wang", PASSWORD).reason == "INVALID_CREDENTIALS"
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        wang(company.stub.GetMe, pb.GetMeRequest())
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        company.exchange(key)


def test_a_key_has_its_own_rights_only_and_its_secret_is_shown_once(company: Company) -> None:
    """F136: an outside system captures leads with a key of its own, and can do nothing else."""
    admin = company.admin
    request = pb.CreateApiKeyRequest(request_id=new_id(), name="官网表单", rights=["leads.capture"])
    secret = admin(company.stub.CreateApiKey, request).secret
    assert admin(company.stub.CreateApiKey, request).secret == ""
    exchanged = company.exchange(secret)
    caller = Verifier(company.runtime.settings.trusted_keys).verify(exchanged.access_token)
    assert caller.rights == {"leads.capture"}
    assert (caller.name, caller.scope) == ("官网表单", "self")
    key = Caller(lambda: exchanged.access_token)
    assert isinstance(key.refused(company.stub.ListPeople, pb.ListPeopleRequest()), Forbidden)
    assert isinstance(key.refused(company.stub.GetMe, pb.GetMeRequest()), Forbidden)
    with company.runtime.store.transaction(company.tenant) as tx:
        answers = tx.session.scalars(select(company.runtime.store.tables["request"].c.response)).all()
        assert not any(secret.encode() in (answer or b"") for answer in answers)


def test_a_key_never_has_more_than_its_maker(company: Company) -> None:
    admin = company.admin
    none = pb.CreateApiKeyRequest(request_id=new_id(), name="空", rights=[])
    assert admin.refused(company.stub.CreateApiKey, none).reason == "RIGHTS_MISSING"
    invented = pb.CreateApiKeyRequest(request_id=new_id(), name="多", rights=["tenants.delete"])
    assert admin.refused(company.stub.CreateApiKey, invented).reason == "RIGHTS_BEYOND_OWN"
    person_id = company.add("wang", "admin")
    secret = company.caller("wang")(
        company.stub.CreateApiKey,
        pb.CreateApiKeyRequest(request_id=new_id(), name="官网", rights=["leads.capture"]),
    ).secret
    demoted = pb.Person(person_id=person_id, roles=["sales_rep"], version=1)
    admin(
        company.stub.UpdatePerson,
        pb.UpdatePersonRequest(request_id=new_id(), person=demoted, update_mask=FieldMask(paths=["roles"])),
    )
    verifier = Verifier(company.runtime.settings.trusted_keys)
    assert verifier.verify(company.exchange(secret).access_token).rights == frozenset()


def test_keys_are_listed_without_their_secrets_and_revoked_once(company: Company) -> None:
    """F136: who may let outside systems in also ends what a colleague let in; all of it is accounted for."""
    admin = company.admin
    maker_id = company.add("wang", "admin")
    wang = company.caller("wang")
    for name in ("官网", "表单"):
        request = pb.CreateApiKeyRequest(request_id=new_id(), name=name, rights=["leads.capture"])
        secret = wang(company.stub.CreateApiKey, request).secret
    newest, oldest = admin(company.stub.ListApiKeys, pb.ListApiKeysRequest()).api_keys
    assert (newest.name, oldest.name) == ("表单", "官网")
    assert (newest.maker_id, list(newest.rights)) == (maker_id, ["leads.capture"])
    assert secret not in str(newest)

    revoke = pb.RevokeApiKeyRequest(request_id=new_id(), api_key_id=newest.api_key_id)
    admin(company.stub.RevokeApiKey, revoke)
    admin(company.stub.RevokeApiKey, revoke)
    again = pb.RevokeApiKeyRequest(request_id=new_id(), api_key_id=newest.api_key_id)
    assert admin.refused(company.stub.RevokeApiKey, again).reason == "API_KEY_NOT_FOUND"
    with pytest.raises(Unauthenticated, match="SESSION_ENDED"):
        company.exchange(secret)
    # A session is no key, whoever knows its id.
    with company.runtime.store.transaction(company.tenant) as tx:
        session_id = tx.session.scalars(select(Session.id).where(Session.kind == "session")).first()
    session = pb.RevokeApiKeyRequest(request_id=new_id(), api_key_id=str(session_id))
    assert admin.refused(company.stub.RevokeApiKey, session).reason == "API_KEY_NOT_FOUND"
    assert [key.name for key in wang(company.stub.ListApiKeys, pb.ListApiKeysRequest()).api_keys] == ["官网"]
    with company.runtime.store.transaction(company.tenant) as tx:
        entries = tx.session.scalars(select(Audit).where(Audit.action == "api_key_revoked")).all()
        assert [(entry.subject_id, entry.details) for entry in entries] == [
            (newest.api_key_id, {"name": "表单"})
        ]


def test_only_the_gateway_opens_sessions(company: Company) -> None:
    request = pb.SignInRequest(tenant=company.slug, login="admin", password=ADMIN_PASSWORD)
    assert isinstance(company.service("orders").refused(company.stub.SignIn, request), Forbidden)
    assert isinstance(company.admin.refused(company.stub.SignIn, request), Forbidden)
    look = pb.CheckSessionsRequest(session_tokens=["main.x"])
    assert isinstance(company.admin.refused(company.stub.CheckSessions, look), Forbidden)
