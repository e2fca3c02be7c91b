"""Registered projects: one winner whatever happens, the masked holder, suspects, closing, paging, whom they show."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select, text
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import OperationalError

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists, Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.dedupe.__main__ import SERVICE
from services.dedupe.domain.keys import Subject, SubjectKind
from services.dedupe.domain.projects import ProjectState
from services.dedupe.store.tables import HeldKey, Project
from services.dedupe.usecases.merges import follow_merge
from services.dedupe.usecases.projects import ProjectDraft, close_project, register_project
from services.dedupe.usecases.reservations import reserve_keys
from tests.support.served import served

SITE = "成都市高新区天府大道100号"
SCHEME = "车间屋顶分布式光伏 2MW，配套储能 500kWh"
DRAFT = ProjectDraft("天府光伏一期", SITE, SCHEME)


class Desk:
    """A sales team at dedupe's API."""

    def __init__(self, client: Client[DedupeServiceStub], tenant: Tenant, signer: Signer) -> None:
        self.client, self.tenant, self.signer = client, tenant, signer
        self.sellers = [new_id(), new_id()]

    def token(self, person_id: str, right: str = "customers.create", scope: str = "self") -> str:
        """Return somebody's token."""
        caller = Caller(
            tenant=self.tenant, person_id=person_id, name="王小明", rights=frozenset({right}), scope=scope
        )
        return self.signer.person_token(caller, utc_now())[0]

    def register(
        self,
        seller: int = 0,
        name: str = DRAFT.name,
        site: str = SITE,
        scheme: str = SCHEME,
        customer: str = "",
    ) -> pb.RegisterProjectResponse:
        """Register a project."""
        request = pb.RegisterProjectRequest(
            request_id=new_id(), name=name, site_address=site, scheme=scheme, customer_id=customer
        )
        return self.client.forward(
            self.client.stub.RegisterProject, request, self.token(self.sellers[seller])
        )

    def close(self, project_id: str, seller: int = 0, reason: str = "") -> pb.Project:
        """End a registration."""
        request = pb.CloseProjectRequest(request_id=new_id(), project_id=project_id, reason=reason)
        token = self.token(self.sellers[seller])
        return self.client.forward(self.client.stub.CloseProject, request, token).project

    def page(
        self, token: str, size: int = 0, after: str = "", closed: bool = False
    ) -> pb.ListProjectsResponse:
        """Return a page of projects."""
        state = pb.PROJECT_STATE_CLOSED if closed else pb.PROJECT_STATE_OPEN
        request = pb.ListProjectsRequest(state=state, page_size=size, page_token=after)
        return self.client.forward(self.client.stub.ListProjects, request, token)

    def suspects(self) -> list[pb.Suspect]:
        """Return the open suspects."""
        request = pb.ListSuspectsRequest(state=pb.SUSPECT_STATE_OPEN)
        token = self.token(new_id(), "approvals.decide")
        return list(self.client.forward(self.client.stub.ListSuspects, request, token).suspects)

    def decide(self, suspect_id: str, same: bool) -> None:
        """Say whether they are one."""
        request = pb.DecideSuspectRequest(request_id=new_id(), suspect_id=suspect_id, same=same)
        token = self.token(new_id(), "approvals.decide")
        self.client.forward(self.client.stub.DecideSuspect, request, token)


@pytest.fixture
def desk(settings: Settings, main_tenant: Tenant, signer: Signer) -> Iterator[Desk]:
    """The team."""
    with served(SERVICE, settings, {"customers": "127.0.0.1:1"}) as address:
        client = Client(DedupeServiceStub, address, Signer("customers", settings.signing_keys["customers"]))
        yield Desk(client, main_tenant, signer)
        client.close()


def seller_of(tenant: Tenant) -> Caller:
    """Return somebody who sells."""
    return Caller(tenant=tenant, person_id=new_id(), name="王小明")


DIE = text("SELECT pg_terminate_backend(pg_backend_pid())")


def die_at(connection: Connection, statement: int) -> None:
    """Let the database end a connection before this statement of it, as if its process had died."""
    left = iter(range(1, statement + 1))

    @event.listens_for(connection, "before_cursor_execute")
    def count(_: Connection, cursor: DBAPICursor, *__: object) -> None:
        if next(left, 0) == statement:
            cursor.execute(str(DIE))


def check(store: Store, tenant: Tenant) -> list[str]:
    """Check that the open projects are those that hold a key, one at most; return them."""
    with store.transaction(tenant) as tx:
        projects = tx.session.scalars(
            select(Project.project_id).where(
                Project.tenant_id == tenant.id, Project.state == ProjectState.OPEN
            )
        ).all()
        holders = tx.session.scalars(select(HeldKey.subject_id).where(HeldKey.tenant_id == tenant.id)).all()
    assert list(projects) == list(holders)
    assert len(projects) <= 1
    return list(projects)


usual = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


# What threads do can't be shrunk: it is another thing each time.
@settings(usual, max_examples=10, phases=[Phase.generate])
@given(deaths=st.lists(st.integers(1, 14), min_size=0, max_size=5))
def test_of_simultaneous_registrations_one_wins_and_the_dead_hold_nothing(
    store: Store, deaths: list[int]
) -> None:
    """F153, decision 2: whoever dies before any of its statements, or at its commit, leaves the project to the next."""
    tenant = Tenant(new_id(), "main")
    writers = [0, 0, *deaths]
    start = threading.Barrier(len(writers))

    def register(dies_at: int) -> str:
        start.wait()
        try:
            with store.transaction(tenant) as tx:
                if dies_at:
                    die_at(tx.session.connection(), dies_at)
                register_project(tx, seller_of(tenant), DRAFT)
                if dies_at:
                    tx.session.scalar(DIE)
        except AlreadyExists:
            return "refused"
        except OperationalError:
            return "dead"
        return "won"

    with ThreadPoolExecutor(len(writers)) as threads:
        outcomes = list(threads.map(register, writers))
    assert outcomes.count("won") == 1
    assert set(outcomes[2:]) <= {"dead", "refused"}
    assert len(check(store, tenant)) == 1


@settings(usual, max_examples=20)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=2, max_size=12))
def test_in_any_order_of_registrations_and_ends_one_holds_the_project(
    store: Store, steps: list[tuple[bool, int]]
) -> None:
    """F153: what is closed is free at once, and only for one."""
    tenant = Tenant(new_id(), "main")
    sellers = [seller_of(tenant) for _ in range(3)]
    mine: dict[int, str] = {}
    for registers, who in steps:
        with store.transaction(tenant) as tx:
            if not registers and who in mine:
                close_project(tx, sellers[who], mine.pop(who), "")
            elif registers and not mine:
                mine[who] = register_project(tx, sellers[who], DRAFT)[0].project_id
            elif registers:
                with pytest.raises(AlreadyExists):
                    register_project(tx, sellers[who], DRAFT)
                tx.session.rollback()
        assert check(store, tenant) == list(mine.values())


def test_another_ones_project_is_refused_with_the_masked_holder_and_both_sides_hear_of_it(
    desk: Desk, store: Store
) -> None:
    """F153, F170: spelled otherwise it is the same project; at another site, or under another name, it is not."""
    first = desk.register().project
    with pytest.raises(AlreadyExists) as refused:
        desk.register(1, "天府光伏 一期", "成都市高新区天府大道１００号", "别的方案")
    told = refused.value.metadata
    assert refused.value.reason == "KEY_HELD"
    assert (told["holder"], told["kind"], told["field"]) == ("王**", "project", "name_and_site")
    assert told["since"]
    with pytest.raises(AlreadyExists):
        desk.register()
    with store.transaction(desk.tenant) as tx:
        outbox = store.tables["outbox"]
        bodies = tx.session.scalars(select(outbox.c.body).where(outbox.c.tenant_id == desk.tenant.id)).all()
    (event,) = [body["data"] for body in bodies if body.get("type") == "keys_refused"]
    assert (event["submitterId"], event["holderId"], event["name"]) == (
        desk.sellers[1],
        desk.sellers[0],
        "天府光伏 一期",
    )
    # The receipt says who took the key, and when.
    request = pb.GetReceiptRequest(reservation_id=first.reservation_id)
    receipt = desk.client.forward(desk.client.stub.GetReceipt, request, desk.token(desk.sellers[0])).receipt
    claims = jwt.decode(receipt, options={"verify_signature": False})
    assert (claims["state"], [key["subjectId"] for key in claims["keys"]]) == (
        "confirmed",
        [first.project_id],
    )
    desk.register(1, DRAFT.name, "沈阳市铁西区8号", SCHEME)
    desk.register(1, "完全不同的工程", "大连市中山区9号", SCHEME)


def test_a_closed_project_is_free(desk: Desk) -> None:
    """F153: by whoever registered it, once."""
    project = desk.register().project
    with pytest.raises(NotFound):
        desk.close(project.project_id, seller=1)
    closed = desk.close(project.project_id, reason="已签约")
    assert (closed.state, closed.close_reason) == (pb.PROJECT_STATE_CLOSED, "已签约")
    with pytest.raises(RuleViolation) as refused:
        desk.close(project.project_id)
    assert refused.value.reason == "PROJECT_CLOSED"
    again = desk.register(1).project
    token = desk.token(new_id(), scope="all")
    assert [row.project_id for row in desk.page(token).projects] == [again.project_id]
    assert [row.project_id for row in desk.page(token, closed=True).projects] == [project.project_id]


def test_a_similar_project_raises_a_suspect_until_somebody_tells_them_apart(desk: Desk) -> None:
    """F158, F159: of site and scheme, or of site and name; one's own are no suspects."""
    first = desk.register()
    assert not desk.register(0, "天府光伏二期").suspect_ids
    second = desk.register(1, "高新厂房光伏", "高新区天府大道 100 号", "厂房屋顶分布式光伏2MW 配套储能500kWh")
    (suspect,) = desk.suspects()
    assert list(second.suspect_ids) == [suspect.suspect_id]
    assert suspect.dimension == pb.DIMENSION_PROJECT
    assert first.project.project_id in [project.project_id for project in suspect.projects]
    desk.decide(suspect.suspect_id, same=False)
    desk.close(second.project.project_id, seller=1)
    third = desk.register(1, DRAFT.name, "高新区天府大道100号", "待定")
    assert len(third.suspect_ids) == 1


def test_an_inquiry_for_a_registered_site_raises_a_suspect(desk: Desk) -> None:
    """F158: whichever comes first; one's own inquiry does not."""

    def ask(seller: int, phone: str) -> list[str]:
        request = pb.RecordInquiryRequest(
            request_id=new_id(),
            inquirer_name="王经理",
            phone=phone,
            items=[pb.InquiryItem(product="光伏组件")],
            site_address=SITE,
            scheme=SCHEME,
        )
        stub = desk.client.stub
        return list(
            desk.client.forward(stub.RecordInquiry, request, desk.token(desk.sellers[seller])).suspect_ids
        )

    assert not ask(0, "13800138000")
    assert not desk.register(0).suspect_ids
    assert ask(1, "13800138000") == [suspect.suspect_id for suspect in desk.suspects()]


def test_pages_show_what_the_scope_allows(desk: Desk) -> None:
    """Deny first: a colleague's project is not listed, and its customer follows a merge (F36)."""
    mine = [desk.register(0, f"项目{number}", f"{number}号").project.project_id for number in range(3)]
    desk.register(1, "别人的项目", "99号")
    own = desk.token(desk.sellers[0])
    first = desk.page(own, size=2)
    second = desk.page(own, size=2, after=first.next_page_token)
    assert [row.project_id for row in (*first.projects, *second.projects)] == mine[::-1]
    assert not second.next_page_token
    assert len(desk.page(desk.token(new_id(), scope="all")).projects) == 4
    with pytest.raises(Forbidden):
        desk.page(desk.token(new_id(), "approvals.decide"))


def test_a_projects_customer_must_exist_and_follows_its_merge(desk: Desk, store: Store) -> None:
    """F36: by its old id too."""
    survivor, merged = new_id(), new_id()
    with store.transaction(desk.tenant) as tx:
        for customer_id, name in ((survivor, "天府光伏有限公司"), (merged, "蓉城储能有限公司")):
            subject = Subject(SubjectKind.CUSTOMER, customer_id, name, ())
            reserve_keys(tx, new_id(), [subject], "", "王小明")
    assert desk.register(customer=merged).project.customer_id == merged
    with store.transaction(desk.tenant) as tx:
        follow_merge(tx, new_id(), survivor, merged, undo=False)
    late = desk.register(name="二期", customer=merged).project
    rows = desk.page(desk.token(desk.sellers[0])).projects
    assert {late.customer_id} | {row.customer_id for row in rows} == {survivor}
    with pytest.raises(NotFound) as missing:
        desk.register(name="三期", customer=new_id())
    assert missing.value.reason == "CUSTOMER_NOT_FOUND"


@pytest.mark.parametrize(
    ("name", "site", "scheme", "field", "reason"),
    [
        ("", SITE, SCHEME, "name", "TEXT_EMPTY"),
        ("——", SITE, SCHEME, "name", "PROJECT_NAMELESS"),
        (DRAFT.name, "（）", SCHEME, "site_address", "PROJECT_NAMELESS"),
        (DRAFT.name, SITE, "", "scheme", "TEXT_EMPTY"),
        ("名" * 201, SITE, SCHEME, "name", "TEXT_TOO_LONG"),
        ("天府\x00光伏", SITE, SCHEME, "name", "TEXT_INVALID"),
    ],
)
def test_bad_input_names_its_field(
    desk: Desk, name: str, site: str, scheme: str, field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        desk.register(0, name, site, scheme)
    assert (refused.value.field, refused.value.reason) == (field, reason)
