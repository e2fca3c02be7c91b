"""Matching over the real index: found at once, masked, explained; rules as data, keyed after and listed."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import jwt
import pytest
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.grpc_client import Client
from services.chassis.ids import derive_id, new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.dedupe import events
from services.dedupe.__main__ import SERVICE
from services.dedupe.domain.evidence import Evidence
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.domain.suspects import Suspicion
from services.dedupe.store import index
from services.dedupe.store.gram_counts import FRESH, KnownCounts
from services.dedupe.store.tables import GramCount, MatchRecord
from services.dedupe.usecases.backfill import backfill
from services.dedupe.usecases.batches import Wanted, reserve_batch
from services.dedupe.usecases.matching import check_duplicates, note_owner
from services.dedupe.usecases.reservations import Reserved, cancel, reserve_keys
from services.dedupe.usecases.rules import list_clashes, update_rule
from services.dedupe.usecases.scans import scan_batch, start_scan
from services.dedupe.usecases.sight import mask_company
from services.dedupe.usecases.suspects import update_suspicion
from tests.support.names import Names
from tests.support.reading import rows_read
from tests.support.running import event_of, take
from tests.support.served import served

Result = TypeVar("Result")
DedupeClient = Client[DedupeServiceStub]
PHONE = "+8613800138000"


def run(store: Store, tenant: Tenant, work: Callable[[Transaction], Result]) -> Result:
    """Do something in a transaction of its own."""
    with store.transaction(tenant) as tx:
        return work(tx)


def customer(name: str, *phones: str, code: str = "", address: str = "") -> Subject:
    """Return a new customer as a subject."""
    return Subject(SubjectKind.CUSTOMER, new_id(), name, phones, code, address)


def reserve(store: Store, tenant: Tenant, *subjects: Subject, holder: str = "") -> Reserved:
    """Reserve for 王小明."""
    return run(store, tenant, lambda tx: reserve_keys(tx, new_id(), subjects, holder or new_id(), "王小明"))


def load(store: Store, tenant: Tenant, wanted: Sequence[Wanted]) -> None:
    """Reserve many."""
    with store.transaction(tenant) as tx:
        results = reserve_batch(tx, wanted, "", "王小明")
    assert not any(results.values())


def check(store: Store, tenant: Tenant, probe: Subject, *contacts: str) -> list[str]:
    """Return the names that are like a probe's."""
    similar = run(store, tenant, lambda tx: check_duplicates(tx, probe, contacts, Entrance.FORM)).similar
    return [found.row.name for found in similar]


def switch(
    store: Store,
    tenant: Tenant,
    kind: str,
    field: str,
    active: bool = True,
    verdict: Verdict | None = None,
    threshold: float | None = None,
    entrances: Sequence[Entrance] | None = None,
) -> str:
    """Change a rule; return its id."""
    rule_id = derive_id(tenant.id, kind, field)
    run(store, tenant, lambda tx: update_rule(tx, rule_id, active, verdict, threshold, entrances))
    return rule_id


def test_a_check_reads_what_is_like_it_and_not_the_tenants_others(store: Store, tenant: Tenant) -> None:
    """Of a tenant that came since statistics were made the planner believes that it has no rows."""
    names = Names(7)
    others = sorted({"".join(names.parts()) for _ in range(400)})
    load(store, tenant, [Wanted(new_id(), (customer(name),)) for name in (*others, "上海钰龙贸易有限公司")])
    with store.transaction(tenant) as tx:
        index.recount(tx)
    with store.transaction(tenant) as tx:
        for look in (
            lambda: check_duplicates(tx, customer("上海玉龙贸易有限公司"), (), Entrance.FORM).similar,
            lambda: index.look_up(tx, "钰龙", 5),
            lambda: index.namesakes(tx, "上海钰龙贸易有限公司"),
        ):

            def once(look: Callable[[], object] = look) -> None:
                assert look()

            assert rows_read(tx.session, once, "dedupe.match_record") <= 100


def test_a_similar_customer_is_listed_and_the_create_goes_on(store: Store, tenant: Tenant) -> None:
    """F149: found by whoever asks next, before anything is confirmed."""
    reserve(store, tenant, customer("成都知品科技有限公司"))
    reserve(store, tenant, customer("沈阳北方机械厂"))
    similar = reserve(store, tenant, customer("知品科技（成都）有限责任公司")).similar
    assert [found.row.name for found in similar] == ["成都知品科技有限公司"]
    assert {reason.field for reason in similar[0].match.reasons} == {"name", "region"}


def test_what_was_given_back_is_not_found_any_more(store: Store, main_tenant: Tenant) -> None:
    reservation = new_id()
    subject = customer("成都知品科技有限公司")
    run(store, main_tenant, lambda tx: reserve_keys(tx, reservation, [subject], "", "王小明"))
    assert check(store, main_tenant, customer("成都质品科技有限公司"))
    run(store, main_tenant, lambda tx: cancel(tx, reservation))
    assert not check(store, main_tenant, customer("成都质品科技有限公司"))


def test_another_tenant_finds_nothing(store: Store, main_tenant: Tenant) -> None:
    reserve(store, main_tenant, customer("成都知品科技有限公司"))
    assert not check(store, Tenant(new_id(), "main"), customer("成都知品科技有限公司"))


def test_a_contacts_number_finds_the_customer_under_another_name(store: Store, main_tenant: Tenant) -> None:
    """F154: people and numbers of one company lead to it."""
    person = Subject(SubjectKind.CONTACT, new_id(), "王小明", (PHONE,))
    reserve(store, main_tenant, customer("成都知品科技有限公司"), person)
    assert check(store, main_tenant, customer("成都知品信息技术有限公司", PHONE), "王小明") == [
        "成都知品科技有限公司"
    ]


def test_what_evidence_is_worth_is_each_companys_own(store: Store, main_tenant: Tenant) -> None:
    """F162: for a company whose numbers never wander an equal number is proof, whatever the name."""
    neighbour = Tenant(new_id(), main_tenant.database)
    for tenant in (main_tenant, neighbour):
        reserve(store, tenant, customer("成都知品科技有限公司", PHONE))
    settings = Suspicion(evidence=Evidence(phone=30.0))
    run(store, main_tenant, lambda tx: update_suspicion(tx, settings))
    other = customer("大连恒达物流公司", PHONE)
    assert check(store, main_tenant, other) == ["成都知品科技有限公司"]
    assert not check(store, neighbour, other)
    (found,) = run(store, main_tenant, lambda tx: check_duplicates(tx, other, (), Entrance.FORM)).similar
    assert {reason.field.value: reason.weight for reason in found.match.reasons}["phone"] == 30.0


def test_a_batch_is_found_too(store: Store, main_tenant: Tenant) -> None:
    """F165: what an import brings is in the index."""
    wanted = [
        Wanted(new_id(), (customer("成都知品科技有限公司"),)),
        Wanted(new_id(), (customer("恒达物流公司"),)),
    ]
    run(store, main_tenant, lambda tx: reserve_batch(tx, wanted, "", "王小明"))
    assert check(store, main_tenant, customer("成都質品科技公司")) == ["成都知品科技有限公司"]


def test_spoilt_names_are_found_among_many_with_counted_grams(store: Store, main_tenant: Tenant) -> None:
    """Recall through the index: blocking within its budget loses next to nothing."""
    names = Names(7)
    parts = [names.parts() for _ in range(800)]
    wanted = [Wanted(new_id(), (customer("".join(part)),)) for part in dict.fromkeys(parts)]
    load(store, main_tenant, wanted)
    assert run(store, main_tenant, index.recount)
    assert not run(store, main_tenant, index.recount)
    tried = parts[:60]
    found = sum("".join(part) in check(store, main_tenant, customer(names.spoil(part)[1])) for part in tried)
    assert found / len(tried) >= 0.9


def test_counts_taken_anew_are_known_after_a_while_and_what_is_new_is_found_at_once(
    store: Store, main_tenant: Tenant
) -> None:
    known = KnownCounts()
    now = utc_now()

    def counted(tenant: Tenant, after: timedelta = timedelta()) -> tuple[int, int]:
        """Return how many records there were when grams were counted, and how many grams have a count."""
        with store.transaction(tenant, now=now + after) as tx:
            counts = known.of(tx)
            stored = tx.session.scalars(
                select(GramCount.count).where(GramCount.tenant_id == tenant.id).order_by(GramCount.gram)
            ).all()
            assert list(counts.counts) in ([], stored)
            return counts.records, len(counts.grams)

    assert counted(main_tenant) == (0, 0)
    names = Names(7)
    others = sorted({"".join(names.parts()) for _ in range(200)})
    load(store, main_tenant, [Wanted(new_id(), (customer(name),)) for name in others])
    assert run(store, main_tenant, index.recount)
    assert counted(main_tenant) == (0, 0)
    reserve(store, main_tenant, customer("成都知品科技有限公司"))
    assert check(store, main_tenant, customer("成都质品科技有限公司")) == ["成都知品科技有限公司"]
    records, grams = counted(main_tenant, FRESH)
    assert records == len(others)
    assert grams > 0
    assert check(store, main_tenant, customer("成都质品科技有限公司")) == ["成都知品科技有限公司"]
    assert counted(Tenant(new_id(), main_tenant.database)) == (0, 0)


def test_a_process_forgets_the_counts_of_who_asks_no_more(store: Store, tenant: Tenant) -> None:
    names = Names(7)
    others = sorted({"".join(names.parts()) for _ in range(100)})
    tenants = [tenant, Tenant(new_id(), tenant.database)]
    for each in tenants:
        load(store, each, [Wanted(new_id(), (customer(name),)) for name in others])
        assert run(store, each, index.recount)
    known = KnownCounts(most=1)
    first = run(store, tenants[0], known.of)
    assert run(store, tenants[0], known.of) is first
    assert run(store, tenants[1], known.of).records == len(others)
    again = run(store, tenants[0], known.of)
    assert again is not first
    assert (again.grams, again.counts) == (first.grams, first.counts)


def test_a_flood_of_equal_names_still_answers(store: Store, main_tenant: Tenant) -> None:
    switch(store, main_tenant, "customer", "name", verdict=Verdict.LIST)
    flood = [Wanted(new_id(), (customer("成都知品科技有限公司"),)) for _ in range(1500)]
    load(store, main_tenant, flood)
    assert len(check(store, main_tenant, customer("成都知品科技有限公司"))) == 10


@pytest.mark.parametrize("name", ["甲", "😀😀", "ＡＢＣ"])
def test_odd_names_are_reserved_and_checked(store: Store, main_tenant: Tenant, name: str) -> None:
    reserve(store, main_tenant, customer(name))
    assert check(store, main_tenant, customer(name)) in ([], [name])


def test_similarity_can_block_and_be_for_one_entrance_only(store: Store, main_tenant: Tenant) -> None:
    """F147, O2: the strongest verdict wins."""
    reserve(store, main_tenant, customer("成都知品科技有限公司"))
    switch(store, main_tenant, "customer", "similar", verdict=Verdict.BLOCK, entrances=[Entrance.FORM])
    with pytest.raises(AlreadyExists) as refused:
        reserve(store, main_tenant, customer("成都质品科技有限公司"))
    assert (refused.value.reason, refused.value.metadata["holder"]) == ("SIMILAR_EXISTS", "王**")
    other = customer("成都质品科技有限公司")
    run(store, main_tenant, lambda tx: reserve_keys(tx, new_id(), [other], "", "", Entrance.API))


def test_phone_and_name_together_are_a_key_and_each_alone_is_none(store: Store, main_tenant: Tenant) -> None:
    """F163."""
    for kind, field in (("customer", "name"), ("customer", "phone")):
        switch(store, main_tenant, kind, field, active=False)
    switch(store, main_tenant, "customer", "phone_and_name")
    reserve(store, main_tenant, customer("知品科技", PHONE))
    reserve(store, main_tenant, customer("知品科技", "+8613900139000"))
    reserve(store, main_tenant, customer("恒达物流", PHONE))
    with pytest.raises(AlreadyExists) as refused:
        reserve(store, main_tenant, customer("知品 科技", PHONE))
    assert refused.value.metadata["field"] == "phone_and_name"


def test_a_rule_that_comes_on_keys_what_is_there_and_lists_what_breaks_it(
    store: Store, tenant: Tenant
) -> None:
    """Decision 2: a new blocking rule back-fills keys and lists the clashes it finds."""
    code = "91350100M000100Y43"
    first, second, alone = (customer(name, code=code) for name in ("甲公司", "乙公司", "丙公司"))
    alone = customer("丙公司", code="9111000071093123XX")
    for subject in (first, second, alone):
        reserve(store, tenant, subject)
    rule_id = switch(store, tenant, "customer", "credit_code")
    assert not run(store, tenant, lambda tx: list_clashes(tx, rule_id))[1]
    while backfill(store, tenant):
        pass
    clashes, finished = run(store, tenant, lambda tx: list_clashes(tx, rule_id))
    assert finished
    assert {name for clash in clashes for name in clash[1:]} == {"甲公司", "乙公司"}
    assert len(clashes) == 1
    for taken in (code, "9111000071093123XX"):
        with pytest.raises(AlreadyExists):
            reserve(store, tenant, customer("丁公司", code=taken))


def test_keys_after_the_fact_go_with_a_reservation_that_is_given_back(
    store: Store, main_tenant: Tenant
) -> None:
    reservation, code = new_id(), "91350100M000100Y43"
    run(
        store,
        main_tenant,
        lambda tx: reserve_keys(tx, reservation, [customer("甲公司", code=code)], "", "王小明"),
    )
    switch(store, main_tenant, "customer", "credit_code")
    while backfill(store, main_tenant):
        pass
    run(store, main_tenant, lambda tx: cancel(tx, reservation))
    reserve(store, main_tenant, customer("乙公司", code=code))


def test_a_rule_that_would_match_everything_is_refused_with_a_count(
    store: Store, main_tenant: Tenant
) -> None:
    wanted = [
        Wanted(new_id(), (customer(f"成都{char}品科技有限公司"),))
        for char in "知质优金银铜铁石玉珠天地玄黄宇宙洪荒日月盈"
    ]
    run(store, main_tenant, lambda tx: reserve_batch(tx, wanted, "", ""))
    with pytest.raises(RuleViolation) as refused:
        switch(store, main_tenant, "customer", "similar", threshold=1)
    assert refused.value.reason == "RULE_TOO_WIDE"
    assert int(refused.value.metadata["hit"]) > 2


@pytest.mark.parametrize(("field", "threshold"), [("name", 5.0), ("similar", 0.0), ("similar", 100.0)])
def test_a_threshold_that_cannot_be_names_its_field(
    store: Store, main_tenant: Tenant, field: str, threshold: float
) -> None:
    with pytest.raises(InvalidInput) as refused:
        switch(store, main_tenant, "customer", field, threshold=threshold)
    assert refused.value.field == "threshold"


def test_a_company_is_masked_to_its_beginning_and_form() -> None:
    """F164."""
    assert mask_company("成都知品科技有限公司") == "成都****有限公司"
    assert mask_company("知品") == "知品****"


@pytest.fixture
def client(settings: Settings) -> Iterator[DedupeClient]:
    """A client in customers' name."""
    with served(SERVICE, settings, {"customers": "127.0.0.1:1"}) as address:
        client = Client(DedupeServiceStub, address, Signer("customers", settings.signing_keys["customers"]))
        yield client
        client.close()


def person(tenant: Tenant, person_id: str, *rights: str, scope: str = "self") -> Caller:
    """Return somebody."""
    return Caller(tenant=tenant, person_id=person_id, name="李雷", rights=frozenset(rights), scope=scope)


def test_the_check_masks_what_the_caller_may_not_see(
    client: DedupeClient, store: Store, main_tenant: Tenant, signer: Signer
) -> None:
    """F149, F164: the owner sees which customer it is, others that there is one."""
    owner, other, next_owner = new_id(), new_id(), new_id()
    subject = customer("成都知品科技有限公司")
    reserve(store, main_tenant, subject, holder=owner)
    request = pb.CheckDuplicatesRequest(name="成都质品科技有限公司", phones=["13800138000"])

    def seen(person_id: str, scope: str = "self") -> tuple[str, str]:
        caller = person(main_tenant, person_id, "customers.create", scope=scope)
        answer = client.forward(
            client.stub.CheckDuplicates, request, signer.person_token(caller, utc_now())[0]
        )
        (similar,) = answer.similar
        assert answer.verdict == pb.RULE_VERDICT_LIST
        assert similar.verdict == pb.MATCH_VERDICT_NEAR
        assert similar.score == pytest.approx(sum(reason.weight for reason in similar.reasons))
        return similar.customer_id, similar.name

    hidden, shown = ("", "成都****有限公司"), (subject.id, "成都知品科技有限公司")
    assert seen(owner) == shown
    assert seen(other) == hidden
    assert seen(other, scope="all") == shown
    run(store, main_tenant, lambda tx: note_owner(tx, subject.id, next_owner, 2))
    assert (seen(owner), seen(next_owner)) == (hidden, shown)


def test_a_held_key_is_told_of_where_nobody_is_like_it(
    client: DedupeClient, store: Store, main_tenant: Tenant, signer: Signer
) -> None:
    """F149: a tenant may do without the rule of similarity."""
    switch(store, main_tenant, "customer", "similar", active=False)
    reserve(store, main_tenant, customer("成都知品科技有限公司"))
    for scope in ("self", "subordinates", "department", "all"):
        caller = person(main_tenant, new_id(), "customers.create", scope=scope)
        request = pb.CheckDuplicatesRequest(name="成都知品科技有限公司")
        token, _ = signer.person_token(caller, utc_now())
        answer = client.forward(client.stub.CheckDuplicates, request, token)
        assert (answer.verdict, list(answer.similar)) == (pb.RULE_VERDICT_BLOCK, [])
        assert [holder.holder_name for holder in answer.holders] == ["王**"]


def test_a_manager_reads_which_customers_of_the_own_people_they_are(
    client: DedupeClient, store: Store, main_tenant: Tenant, signer: Signer
) -> None:
    """F164, F249: in a check, a look-up and a scan, as in the list; and where the owner works now."""
    owner = new_id()
    subject = customer("成都知品科技有限公司")
    reserve(store, main_tenant, subject, holder=owner)
    reserve(store, main_tenant, customer("知品科技（成都）有限责任公司"))
    scan_id = run(store, main_tenant, start_scan).scan_id
    while run(store, main_tenant, lambda tx: scan_batch(tx, scan_id, 100)):
        pass
    manager = person(main_tenant, new_id(), "customers.create", "pools.manage", scope="department")
    token = signer.person_token(replace(manager, department_path="/east/"), utc_now())[0]

    def names() -> tuple[list[str], set[str]]:
        check = pb.CheckDuplicatesRequest(name="成都质品科技有限公司", phones=["13800138000"])
        typed = client.forward(client.stub.CheckDuplicates, check, token).similar
        query = pb.LookUpNamesRequest(query="知品科技")
        looked_up = {found.name for found in client.forward(client.stub.LookUpNames, query, token).similar}
        (group,) = client.forward(client.stub.ListDuplicates, pb.ListDuplicatesRequest(), token).groups
        assert looked_up == {row.name for row in group.customers}
        return [similar.name for similar in typed if similar.customer_id], looked_up

    def works_in(department_path: str, version: int) -> None:
        data = {"personId": owner, "departmentPath": department_path}
        take(store, events.handlers, event_of(main_tenant, "identity", "person_saved", data, version=version))

    hidden = {"成都****有限公司", "知品****有限责任公司"}
    assert names() == ([], hidden)
    works_in("/east/shanghai/", 2)
    works_in("/west/", 1)
    assert names() == ([subject.name], {subject.name, "知品****有限责任公司"})
    works_in("/west/", 3)
    assert names() == ([], hidden)


def test_facts_that_come_in_the_wrong_order_leave_the_last_owner(store: Store, tenant: Tenant) -> None:
    """F164: each kind of fact has a queue of its own, so that a return may be heard of before the creation."""
    owner, next_owner, subject = new_id(), new_id(), customer("成都知品科技有限公司")
    reserve(store, tenant, subject, holder=owner)

    def fact(event_type: str, version: int, **data: str) -> None:
        event = event_of(tenant, "customers", event_type, data, version=version, aggregate=subject.id)
        take(store, events.handlers, event)

    def owner_now() -> str | None:
        return run(store, tenant, lambda tx: tx.session.scalars(select(MatchRecord.owner_id)).one())

    fact("customer_returned", 2, toOwnerId="")
    fact("customer_created", 1, ownerId=owner, reservationId="")
    assert owner_now() is None
    fact("customer_assigned", 4, toOwnerId=next_owner)
    fact("customer_claimed", 3, toOwnerId=owner)
    assert owner_now() == next_owner


def test_a_keyword_is_looked_up_masked(
    client: DedupeClient, store: Store, main_tenant: Tenant, signer: Signer
) -> None:
    """F164."""
    reserve(store, main_tenant, customer("成都知品科技有限公司"))
    reserve(store, main_tenant, customer("沈阳北方机械厂"))
    token = signer.person_token(person(main_tenant, new_id(), "customers.create"), utc_now())[0]
    answer = client.forward(client.stub.LookUpNames, pb.LookUpNamesRequest(query="知品科技"), token)
    assert [(found.name, found.customer_id, found.holder_name) for found in answer.similar] == [
        ("成都****有限公司", "", "王**")
    ]
    with pytest.raises(InvalidInput):
        client.forward(client.stub.LookUpNames, pb.LookUpNamesRequest(query="知"), token)


def test_a_receipt_is_signed_and_for_its_holder_only(
    client: DedupeClient, store: Store, main_tenant: Tenant, signer: Signer, settings: Settings
) -> None:
    """Who, when and which keys, for a dispute; and it is no token."""
    holder, reservation = new_id(), new_id()
    subject = customer("成都知品科技有限公司", PHONE)
    run(store, main_tenant, lambda tx: reserve_keys(tx, reservation, [subject], holder, "王小明"))
    request = pb.GetReceiptRequest(reservation_id=reservation)

    def ask(person_id: str) -> str:
        token = signer.person_token(person(main_tenant, person_id, "customers.create"), utc_now())[0]
        return client.forward(client.stub.GetReceipt, request, token).receipt

    receipt = ask(holder)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(settings.trusted_keys["dedupe"]))
    claims = jwt.decode(receipt, key, ["EdDSA"], issuer="dedupe")
    assert (claims["holderId"], claims["holderName"]) == (holder, "王**")
    assert [key["field"] for key in claims["keys"]] == ["name", "phone"]
    with pytest.raises(NotFound):
        ask(new_id())


def test_only_who_may_create_checks(client: DedupeClient, main_tenant: Tenant, signer: Signer) -> None:
    token = signer.person_token(person(main_tenant, new_id()), utc_now())[0]
    with pytest.raises(Forbidden):
        client.forward(client.stub.CheckDuplicates, pb.CheckDuplicatesRequest(name="某某"), token)
