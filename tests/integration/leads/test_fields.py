"""The tenant's own fields of leads: set, filled in, unique, filtered and sorted."""

import json
from collections.abc import Iterator

import grpc
import pytest
from crm.leads.v1 import fields_pb2, fields_pb2_grpc
from crm.leads.v1 import leads_pb2 as pb

from services.chassis.errors import AppError, InvalidInput
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.leads.__main__ import SERVICE
from tests.integration.leads.conftest import Member, Team
from tests.support.served import served


@pytest.fixture(scope="module")
def fields(around: Settings) -> Iterator[fields_pb2_grpc.FieldsServiceStub]:
    """Fields of leads, served."""
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield fields_pb2_grpc.FieldsServiceStub(channel)


def add(
    team: Team, api: fields_pb2_grpc.FieldsServiceStub, key: str, kind: str = "text", **more: bool
) -> None:
    """Add a field."""
    field = fields_pb2.Field(key=key, name=key, type=kind, **more)  # type: ignore[arg-type]  # booleans
    request = fields_pb2.CreateFieldRequest(request_id=new_id(), field=field)
    team.person("settings.manage").call(api.CreateField, request)


def create(member: Member, name: str = "韩梅梅", **values: str) -> pb.Lead:
    """Add a lead."""
    request = pb.CreateLeadRequest(
        request_id=new_id(),
        name=name,
        fields=[pb.FieldValue(key=key, value=value) for key, value in values.items()],
    )
    answer: pb.CreateLeadResponse = member.call(member.stub.CreateLead, request)
    return answer.lead


def fill(member: Member, lead: pb.Lead, **values: str) -> pb.SetLeadFieldsRequest:
    """Return the request that fills a lead's own fields in."""
    return pb.SetLeadFieldsRequest(
        request_id=new_id(),
        lead_id=lead.lead_id,
        version=lead.version,
        fields=[pb.FieldValue(key=key, value=value) for key, value in values.items()],
    )


def values(lead: pb.Lead) -> dict[str, str]:
    """Return a lead's own fields."""
    return {field.key: field.value for field in lead.fields}


def test_a_leads_own_fields_are_filled_in_filtered_and_sorted(
    team: Team, fields: fields_pb2_grpc.FieldsServiceStub
) -> None:
    """F241, F242 as for customers."""
    add(team, fields, "budget", "amount")
    add(team, fields, "assistant", "phone")
    rep = team.person()
    leads = {budget: create(rep, f"客户{budget}", budget=budget) for budget in ("300", "20", "1000")}
    assert values(leads["20"]) == {"budget": "20.00"}
    filled = rep.call(
        rep.stub.SetLeadFields, fill(rep, leads["20"], assistant="13800138000", budget="25")
    ).lead
    assert values(filled) == {"budget": "25.00", "assistant": "13800138000"}
    stale = fill(rep, leads["20"], budget="1")
    assert rep.call.refused(rep.stub.SetLeadFields, stale).reason == "LEAD_CHANGED"
    # F59: somebody else who sees the lead does not read its numbers.
    manager = team.person("leads.view", scope="all")
    assert values(manager.get(filled.lead_id).lead)["assistant"] == "+86138****8000"

    def names(**asked: object) -> list[str]:
        found, token = [], ""
        while True:
            request = pb.ListLeadsRequest(page_size=1, page_token=token, **asked)  # type: ignore[arg-type]  # keywords of several types
            page = rep.call(rep.stub.ListLeads, request)
            found += [lead.name for lead in page.leads]
            token = page.next_page_token
            if not token:
                return found

    assert names(order_by="custom.budget") == ["客户20", "客户300", "客户1000"]
    assert names(order_by="-custom.budget") == ["客户1000", "客户300", "客户20"]
    asked = {"field": "custom.budget", "op": "gte", "value": 300}
    assert names(filter=json.dumps(asked), order_by="name") == ["客户1000", "客户300"]
    assert names(
        order_by="last_follow_time", filter='{"field": "name", "op": "prefix", "value": "客户3"}'
    ) == ["客户300"]
    with pytest.raises(InvalidInput, match="ORDER_UNKNOWN"):
        names(order_by="phone")


def test_a_leads_own_fields_are_required_and_unique_where_people_type_them(
    team: Team, fields: fields_pb2_grpc.FieldsServiceStub
) -> None:
    """F241; an outside source knows nothing of them, so it is not asked (F136)."""
    add(team, fields, "code", required=True, unique=True)
    rep, other = team.person(), team.person()
    with pytest.raises(InvalidInput, match="FIELD_REQUIRED"):
        create(rep)
    lead = create(rep, code="A")
    with pytest.raises(AppError, match="FIELD_VALUE_TAKEN"):
        create(other, code="A")
    assert (
        other.call.refused(other.stub.SetLeadFields, fill(other, lead, code="B")).reason == "LEAD_NOT_FOUND"
    )
    request = pb.CaptureLeadRequest(request_id=new_id(), source="website", source_key="1", name="韩梅梅")
    captured = team.person("leads.capture").call(team.stub.CaptureLead, request).lead
    assert values(captured) == {}
