"""Who calls: a token is good until its end, however often it was checked before."""

from datetime import timedelta

import pytest

from services.chassis.clock import utc_now
from services.chassis.errors import Unauthenticated
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import PERSON_TOKEN_S, Caller, Signer, Verifier, generate_key
from tests.support.until import until


def test_a_token_that_was_checked_before_ends_all_the_same() -> None:
    private, public = generate_key()
    signer, verifier = Signer("identity", private), Verifier({"identity": public})
    caller = Caller(Tenant(new_id(), "main"), person_id=new_id(), rights=frozenset({"customers.view"}))
    # Made nearly a life ago: three seconds are left of it.
    made = utc_now() - timedelta(seconds=PERSON_TOKEN_S - 3)
    token, _ = signer.person_token(caller, made)

    def refused() -> bool:
        try:
            verifier.verify(token)
        except Unauthenticated:
            return True
        return False

    assert verifier.verify(token).rights == {"customers.view"}
    assert verifier.verify(token, "en").locale == "en"
    until(refused)


def test_what_is_not_signed_by_who_it_names_is_refused_again_and_again() -> None:
    private, _ = generate_key()
    _, other = generate_key()
    caller = Caller(Tenant(new_id(), "main"), person_id=new_id())
    token, _ = Signer("identity", private).person_token(caller, utc_now())
    verifier = Verifier({"identity": other})
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            verifier.verify(token)
