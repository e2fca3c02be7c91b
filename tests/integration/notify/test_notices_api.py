"""The contract crm.notify.v1.NoticesService: who may ask what, and that a repeat changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc
import pytest
from crm.notify.v1 import notices_pb2 as pb
from crm.notify.v1.notices_pb2_grpc import NoticesServiceStub
from crm.telephony.v1 import sms_pb2, sms_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.clock import utc_now
from services.chassis.errors import Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.grpc_server import Server
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller as Claims
from services.chassis.tokens import Signer, Verifier
from services.notify.__main__ import SERVICE
from tests.support.callers import Caller
from tests.support.served import served


class ScriptedSms(sms_pb2_grpc.SmsServiceServicer):
    """Telephony that measures every text alike."""

    def MeasureSms(
        self, request: sms_pb2.MeasureSmsRequest, context: grpc.ServicerContext
    ) -> sms_pb2.MeasureSmsResponse:
        return sms_pb2.MeasureSmsResponse(segment_count=2, unicode=True, length=len(request.text))


@pytest.fixture(scope="module")
def stub(settings: Settings) -> Iterator[NoticesServiceStub]:
    """Notify, served, with scripted telephony beside it."""
    server = Server("telephony", Verifier(settings.trusted_keys))
    sms_pb2_grpc.add_SmsServiceServicer_to_server(ScriptedSms(), server.grpc)  # type: ignore[abstract]  # asked nothing else
    port = server.start("127.0.0.1", 0, "crm.telephony.v1.SmsService")
    here = f"127.0.0.1:{port}"
    around = replace(
        settings,
        addresses={**settings.addresses, **dict.fromkeys(("customers", "orders", "telephony"), here)},
    )
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield NoticesServiceStub(channel)
    server.stop(0)


@dataclass
class Office:
    """A tenant with a rep and an admin."""

    stub: NoticesServiceStub
    rep: Caller
    admin: Caller


@pytest.fixture
def office(stub: NoticesServiceStub, signer: Signer, main_tenant: Tenant) -> Office:
    def person(*rights: str) -> Caller:
        claims = Claims(tenant=main_tenant, person_id=new_id(), name="李雷", rights=frozenset(rights))
        return Caller(lambda: signer.person_token(claims, utc_now())[0])

    return Office(stub, person(), person("settings.manage"))


def test_preferences_are_the_persons_own(office: Office) -> None:
    chosen = pb.Preferences(
        channels=[pb.KindChannels(kind="*", channels=[pb.CHANNEL_SMS, pb.CHANNEL_MAIL])],
        digest=True,
        digest_minute=1080,
        mail="rep@example.cn",
        locale="en",
    )
    request = pb.SavePreferencesRequest(request_id=new_id(), preferences=chosen)
    assert office.rep(office.stub.SavePreferences, request).preferences == chosen
    assert office.rep(office.stub.GetPreferences, pb.GetPreferencesRequest()).preferences == chosen
    others = office.admin(office.stub.GetPreferences, pb.GetPreferencesRequest()).preferences
    assert (list(others.channels), others.digest, others.mail) == ([], False, "")


def test_templates_are_worded_and_previewed_by_admins_only(office: Office) -> None:
    words = {"title_zh": "线索 {name}", "text_zh": "请跟进 {name}", "title_en": "{name}", "text_en": "{name}"}
    request = pb.SaveTemplateRequest(request_id=new_id(), kind="lead_assigned", **words)
    assert isinstance(office.rep.refused(office.stub.SaveTemplate, request), Forbidden)
    assert office.admin(office.stub.SaveTemplate, request).template.own
    listed = office.rep(office.stub.ListTemplates, pb.ListTemplatesRequest()).templates
    (own,) = [template for template in listed if template.own]
    assert (own.kind, own.title_zh, list(own.variables)) == ("lead_assigned", "线索 {name}", ["name"])
    asked = pb.PreviewTemplateRequest(kind="lead_assigned", text="请跟进 {name}")
    seen = office.admin(office.stub.PreviewTemplate, asked)
    assert (seen.text, seen.segment_count, seen.unicode) == ("请跟进 展会询价", 2, True)
    asked.text = "{nonsense}"
    refused = office.admin.refused(office.stub.PreviewTemplate, asked)
    assert isinstance(refused, InvalidInput)


def test_a_robots_key_is_never_shown_again(office: Office) -> None:
    request = pb.AddRobotRequest(
        request_id=new_id(),
        channel=pb.CHANNEL_DINGTALK,
        name="销售群",
        url="https://oapi.dingtalk.com/robot/send?access_token=topsecret",
        secret="SECabc",
        kinds=["order_escalated", "announcement"],
    )
    added = [office.admin(office.stub.AddRobot, request).robot for _ in range(2)]
    assert added[0] == added[1]
    (robot,) = office.admin(office.stub.ListRobots, pb.ListRobotsRequest()).robots
    assert robot.has_secret
    assert "secret" not in str(robot).replace("has_secret", "")
    elsewhere = pb.AddRobotRequest(
        request_id=new_id(),
        channel=pb.CHANNEL_DINGTALK,
        name="x",
        url="https://127.0.0.1/x",
        kinds=["announcement"],
    )
    assert isinstance(office.admin.refused(office.stub.AddRobot, elsewhere), RuleViolation)
    gone = pb.RemoveRobotRequest(request_id=new_id(), robot_id=robot.robot_id)
    office.admin(office.stub.RemoveRobot, gone)
    assert list(office.admin(office.stub.ListRobots, pb.ListRobotsRequest()).robots) == []


def test_a_reminder_is_set_once_and_finished_by_its_person(office: Office) -> None:
    first = Timestamp()
    first.FromDatetime(utc_now() + timedelta(hours=1))
    request = pb.SetFollowUpReminderRequest(
        request_id=new_id(), title="拜访客户", first_time=first, interval_minutes=1440
    )
    reminders = [office.rep(office.stub.SetFollowUpReminder, request).reminder for _ in range(2)]
    assert reminders[0] == reminders[1]
    assert (reminders[0].next_time, reminders[0].done) == (first, False)
    finish = pb.FinishFollowUpReminderRequest(request_id=new_id(), reminder_id=reminders[0].reminder_id)
    assert isinstance(office.admin.refused(office.stub.FinishFollowUpReminder, finish), NotFound)
    assert office.rep(office.stub.FinishFollowUpReminder, finish).reminder.done
    left = office.rep(office.stub.ListFollowUpReminders, pb.ListFollowUpRemindersRequest(active_only=True))
    assert list(left.reminders) == []


def test_an_announcement_is_made_by_admins_and_read_by_everybody(office: Office) -> None:
    request = pb.AnnounceRequest(request_id=new_id(), title="放假通知", text="国庆放假七天")
    assert isinstance(office.rep.refused(office.stub.Announce, request), Forbidden)
    said = office.admin(office.stub.Announce, request).announcement
    (heard,) = office.rep(office.stub.ListAnnouncements, pb.ListAnnouncementsRequest()).announcements
    assert heard == said


def test_deliveries_of_anothers_message_are_not_found(office: Office) -> None:
    asked = pb.ListDeliveriesRequest(message_id=new_id())
    assert isinstance(office.rep.refused(office.stub.ListDeliveries, asked), NotFound)
