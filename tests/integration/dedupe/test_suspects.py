"""Suspects through the API: the Wang and Zhang scenario, held quotes, common products, projects, decisions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from sqlalchemy import select, update

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.dedupe.__main__ import SERVICE
from services.dedupe.store.tables import Inquiry
from tests.support.served import served

PARTS = [("非标法兰", "DN125 PN25 316L 厚度18mm"), ("异径三通", "DN125×80 壁厚6")]
SIMILAR_PARTS = [("非标法兰", "316L，DN125，PN25，厚 18.5mm"), ("异径三通", "DN125x80 壁厚 6mm")]


class Desk:
    """A sales team at dedupe's API."""

    def __init__(self, client: Client[DedupeServiceStub], tenant: Tenant, signer: Signer) -> None:
        self.client, self.tenant, self.signer = client, tenant, signer
        self.sellers = [new_id(), new_id()]

    def token(self, person_id: str, *rights: str) -> str:
        """Return somebody's token."""
        caller = Caller(tenant=self.tenant, person_id=person_id, name="李雷", rights=frozenset(rights))
        return self.signer.person_token(caller, utc_now())[0]

    def ask(
        self,
        inquirer: str,
        company: str,
        phone: str,
        lines: list[tuple[str, str]],
        seller: int = 0,
        project: tuple[str, str] = ("", ""),
    ) -> pb.RecordInquiryResponse:
        """Record an inquiry."""
        request = pb.RecordInquiryRequest(
            request_id=new_id(),
            inquirer_name=inquirer,
            company_name=company,
            phone=phone,
            items=[
                pb.InquiryItem(product=product, quantity="20", specification=text) for product, text in lines
            ],
            site_address=project[0],
            scheme=project[1],
        )
        return self.client.forward(
            self.client.stub.RecordInquiry, request, self.token(self.sellers[seller], "customers.create")
        )

    def quote(self, inquiry: pb.RecordInquiryResponse) -> str:
        """Ask to quote; return the flagged suspect."""
        request = pb.RequestQuoteRequest(request_id=new_id(), inquiry_id=inquiry.inquiry.inquiry_id)
        token = self.token(self.sellers[0], "customers.create")
        return self.client.forward(self.client.stub.RequestQuote, request, token).flagged_suspect_id

    def suspects(self, state: pb.SuspectState.ValueType = pb.SUSPECT_STATE_OPEN) -> list[pb.Suspect]:
        """Return the suspects of a state."""
        request = pb.ListSuspectsRequest(state=state)
        answer = self.client.forward(
            self.client.stub.ListSuspects, request, self.token(new_id(), "approvals.decide")
        )
        return list(answer.suspects)

    def decide(self, suspect_id: str, same: bool) -> pb.Suspect:
        """Say whether they are one."""
        request = pb.DecideSuspectRequest(request_id=new_id(), suspect_id=suspect_id, same=same)
        token = self.token(new_id(), "approvals.decide")
        return self.client.forward(self.client.stub.DecideSuspect, request, token).suspect

    def configure(self, **changed: float | bool) -> None:
        """Change settings."""
        settings = self.settings()
        for name, value in changed.items():
            setattr(settings, name, value)
        self.save(settings)

    def settings(self) -> pb.SuspicionSettings:
        """Return the settings."""
        return self.client.forward(
            self.client.stub.GetSuspicionSettings,
            pb.GetSuspicionSettingsRequest(),
            self.token(new_id(), "settings.manage"),
        ).settings

    def save(self, settings: pb.SuspicionSettings) -> None:
        """Store settings."""
        request = pb.UpdateSuspicionSettingsRequest(request_id=new_id(), settings=settings)
        token = self.token(new_id(), "settings.manage")
        self.client.forward(self.client.stub.UpdateSuspicionSettings, request, token)


@pytest.fixture
def desk(settings: Settings, main_tenant: Tenant, signer: Signer) -> Iterator[Desk]:
    """The team."""
    with served(SERVICE, settings, {"customers": "127.0.0.1:1"}) as address:
        client = Client(DedupeServiceStub, address, Signer("customers", settings.signing_keys["customers"]))
        yield Desk(client, main_tenant, signer)
        client.close()


def test_manager_wang_and_manager_zhang_are_one_suspect_group(desk: Desk, store: Store) -> None:
    """F154-F161, F201: two people, numbers and company names, two sellers, the same non-standard parts."""
    wang = desk.ask("王经理", "华通管道工程有限公司", "13800138000", PARTS, seller=0)
    assert not wang.suspect_ids
    zhang = desk.ask("张经理", "恒信机电设备公司", "13900139000", SIMILAR_PARTS, seller=1)
    (suspect,) = desk.suspects()
    assert list(zhang.suspect_ids) == [suspect.suspect_id]
    assert (suspect.dimension, suspect.verdict) == (pb.DIMENSION_PRODUCT, pb.MATCH_VERDICT_NEAR)
    assert [inquiry.inquirer_name for inquiry in suspect.inquiries] == ["王经理", "张经理"]
    assert "非标法兰" in suspect.reason
    assert suspect.inquiries[0].phone == "+86138****8000"
    # Both sellers are told.
    with store.transaction(desk.tenant) as tx:
        outbox = store.tables["outbox"]
        bodies = tx.session.scalars(select(outbox.c.body).where(outbox.c.tenant_id == desk.tenant.id)).all()
    (raised,) = [body["data"] for body in bodies if body.get("type") == "suspect_raised"]
    assert raised["personIds"] == sorted(desk.sellers)
    # The first quote goes out; the second is held until somebody decides.
    assert desk.quote(wang) == ""
    with pytest.raises(RuleViolation) as held:
        desk.quote(zhang)
    assert (held.value.reason, held.value.metadata["suspect_id"]) == ("QUOTE_HELD", suspect.suspect_id)
    assert desk.decide(suspect.suspect_id, same=False).state == pb.SUSPECT_STATE_DISMISSED
    assert desk.quote(zhang) == ""
    # Dismissed: they are never suspected again.
    assert not desk.ask("张经理", "恒信机电设备公司", "13900139000", PARTS).suspect_ids
    with pytest.raises(RuleViolation):
        desk.decide(suspect.suspect_id, same=True)


def test_a_third_inquirer_joins_the_open_suspect(desk: Desk) -> None:
    desk.ask("王经理", "", "13800138000", PARTS)
    second = desk.ask("张经理", "", "13900139000", PARTS)
    third = desk.ask("李经理", "", "", SIMILAR_PARTS)
    assert third.suspect_ids == second.suspect_ids
    assert len(desk.suspects()[0].inquiries) == 3


def test_one_person_asking_twice_is_no_suspect(desk: Desk) -> None:
    desk.ask("王经理", "华通管道工程有限公司", "13800138000", PARTS)
    assert not desk.ask("小王", "华通", "138 0013 8000", PARTS).suspect_ids


def test_a_common_product_never_raises_a_suspect(desk: Desk) -> None:
    for number in range(20):
        answer = desk.ask("客户", "", f"1380013{number:04}", [("A4打印纸", "")])
    assert not answer.suspect_ids


def test_what_lies_outside_the_window_is_forgotten(desk: Desk, store: Store) -> None:
    """F155: a short time; F162: configured."""
    desk.ask("王经理", "", "13800138000", PARTS)
    with store.transaction(desk.tenant) as tx:
        tx.session.execute(
            update(Inquiry)
            .where(Inquiry.tenant_id == desk.tenant.id)
            .values(create_time=tx.now - timedelta(days=10))
        )
    desk.configure(window_days=7)
    assert not desk.ask("张经理", "", "13900139000", PARTS).suspect_ids
    desk.configure(window_days=14)
    assert desk.ask("赵经理", "", "13700137000", PARTS).suspect_ids


def test_a_project_at_the_same_site_raises_a_suspect(desk: Desk) -> None:
    """F158."""
    site = ("成都市高新区天府大道100号", "车间屋顶分布式光伏 2MW，配套储能 500kWh")
    near = ("高新区天府大道 100 号", "厂房屋顶分布式光伏2MW 配套储能500kWh")
    other = ("沈阳市铁西区8号", "车间屋顶分布式光伏 2MW，配套储能 500kWh")
    desk.ask("王经理", "", "13800138000", [("光伏组件", "")], project=site)
    assert not desk.ask("刘经理", "", "13600136000", [("逆变器", "")], project=other).suspect_ids
    assert desk.ask("张经理", "", "13900139000", [("储能柜", "")], project=near).suspect_ids
    assert [suspect.dimension for suspect in desk.suspects()] == [pb.DIMENSION_PROJECT]


def test_quotes_are_flagged_where_they_are_not_held_and_a_confirmed_pair_stays_so(desk: Desk) -> None:
    """F160."""
    desk.configure(hold_quotes=False)
    wang, zhang = desk.ask("王经理", "", "13800138000", PARTS), desk.ask("张经理", "", "13900139000", PARTS)
    desk.decide(zhang.suspect_ids[0], same=True)
    assert desk.quote(zhang) == ""
    assert desk.quote(wang) == zhang.suspect_ids[0]


def test_dimensions_and_weights_are_each_companys_own(desk: Desk) -> None:
    """F162: a dimension that is off raises nothing; what specifications are worth decides whether the rest is near."""
    settings = desk.settings()
    settings.off.append(pb.DIMENSION_PRODUCT)
    desk.save(settings)
    desk.ask("王经理", "", "13800138000", PARTS)
    assert not desk.ask("张经理", "", "13900139000", PARTS).suspect_ids
    del settings.off[:]
    settings.evidence.specification = 0
    desk.save(settings)
    desk.ask("李经理", "", "13700137000", PARTS)
    (plain,) = desk.suspects()
    assert desk.decide(plain.suspect_id, same=False).state == pb.SUSPECT_STATE_DISMISSED
    # An update from before there were weights leaves them as they are.
    settings.ClearField("evidence")
    desk.save(settings)
    assert desk.settings().evidence.specification == 0
    settings.evidence.CopyFrom(desk.settings().evidence)
    settings.evidence.specification = 20
    desk.save(settings)
    desk.ask("赵经理", "", "13600136000", PARTS)
    (weighty,) = desk.suspects()
    assert weighty.surprise > plain.surprise


def test_settings_that_cannot_be_name_their_field(desk: Desk) -> None:
    """F162: bad input."""
    for name, value in (
        ("phone", 31.0),
        ("region_conflicts", 1.0),
        ("name", 0.0),
        ("site_share", float("nan")),
    ):
        settings = desk.settings()
        setattr(settings.evidence, name, value)
        with pytest.raises(InvalidInput) as refused:
            desk.save(settings)
        assert (refused.value.field, refused.value.reason) == (
            f"settings.evidence.{name}",
            "SETTING_OUT_OF_RANGE",
        )
    settings = desk.settings()
    settings.off.append(pb.DIMENSION_UNSPECIFIED)
    with pytest.raises(InvalidInput) as refused:
        desk.save(settings)
    assert refused.value.field == "settings.off[0]"


def test_of_two_simultaneous_inquiries_the_later_one_sees_the_earlier(desk: Desk) -> None:
    with ThreadPoolExecutor(2) as threads:
        asked = [
            threads.submit(desk.ask, name, "", phone, PARTS)
            for name, phone in (("王经理", "13800138000"), ("张经理", "13900139000"))
        ]
        assert sum(len(future.result().suspect_ids) for future in asked) == 1


def test_bad_input_names_its_field_and_rights_are_checked(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        desk.ask("王经理", "", "13800138000", [])
    assert refused.value.field == "items"
    with pytest.raises(InvalidInput) as refused:
        desk.ask("王经理", "", "13800138000", [("法兰", ""), ("", "")])
    assert refused.value.field == "items[1].product"
    with pytest.raises(InvalidInput) as refused:
        desk.configure(window_days=0)
    assert refused.value.field == "settings.window_days"
    with pytest.raises(NotFound):
        desk.decide(new_id(), same=True)
    with pytest.raises(Forbidden):
        desk.client.forward(desk.client.stub.ListSuspects, pb.ListSuspectsRequest(), desk.token(new_id()))
