"""The tenant's own fields of products and contracts: set, filled in, unique, filtered, sorted, searched."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from crm.orders.v1 import fields_pb2, fields_pb2_grpc
from crm.orders.v1 import orders_pb2 as pb

from services.chassis.errors import AppError, InvalidInput
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.orders.__main__ import SERVICE
from tests.integration.orders.conftest import Owner, Shop
from tests.support.served import served

# One database is enough: routing is tested beside.
pytestmark = pytest.mark.parametrize("tenant", ["main"], indirect=True)

# Every type with a value as typed and as it is read again.
VALUES = {
    "text": ("甲方", "甲方"),
    "long_text": ("一\n二", "一\n二"),
    "number": ("1,200.50", "1200.5"),
    "amount": ("¥99.9", "99.90"),
    "date": ("2026年3月1日", "2026-03-01"),
    "datetime": ("2026-03-01 09:30", "2026-03-01 09:30:00"),
    "boolean": ("yes", "是"),
    "choice": ("白", "白"),
    "choices": ("黑、白", "白、黑"),
    "phone": ("138 0013 8000", "13800138000"),
    "email": ("A@example.com", "a@example.com"),
    "link": ("https://example.com", "https://example.com"),
    "region": ("上海市浦东新区", "上海市浦东新区"),
}


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[fields_pb2_grpc.FieldsServiceStub]:
    """Fields of orders, served."""
    with served(SERVICE, settings) as address, grpc.insecure_channel(address) as channel:
        yield fields_pb2_grpc.FieldsServiceStub(channel)


@dataclass
class Desk:
    """A tenant with a rep and somebody who sets fields and keeps products."""

    shop: Shop
    api: fields_pb2_grpc.FieldsServiceStub
    rep: Owner
    boss: Owner

    def add(self, kind: str, key: str, field_type: str = "text", **more: object) -> fields_pb2.Field:
        """Add a field."""
        field = fields_pb2.Field(object=kind, key=key, name=key, type=field_type, **more)  # type: ignore[arg-type]  # keywords of several types
        request = fields_pb2.CreateFieldRequest(request_id=new_id(), field=field)
        answer: fields_pb2.CreateFieldResponse = self.boss.call(self.api.CreateField, request)
        return answer.field

    def keys(self, kind: str) -> list[str]:
        """Return the fields in their order."""
        listed = self.rep.call(self.api.ListFields, fields_pb2.ListFieldsRequest(object=kind)).fields
        return [field.key for field in listed]

    def contract(self, **fields: str) -> pb.Contract:
        """Draft a contract."""
        request = pb.CreateContractRequest(
            request_id=new_id(),
            title="年度框架",
            order_id=self.shop.generate(self.rep).order_id,
            start_date="2026-11-22",
            end_date="2027-11-21",
            fields=[pb.FieldValue(key=key, value=value) for key, value in fields.items()],
        )
        answer: pb.CreateContractResponse = self.rep.call(self.shop.stub.CreateContract, request)
        return answer.contract

    def update(self, contract: pb.Contract, **fields: str) -> pb.Contract:
        """Change a contract's own fields."""
        request = pb.UpdateContractRequest(
            request_id=new_id(),
            contract_id=contract.contract_id,
            version=contract.version,
            title=contract.title,
            amount=contract.amount,
            start_date=contract.start_date,
            end_date=contract.end_date,
            fields=[pb.FieldValue(key=key, value=value) for key, value in fields.items()],
        )
        answer: pb.UpdateContractResponse = self.rep.call(self.shop.stub.UpdateContract, request)
        return answer.contract

    def listed(self, owner: Owner | None = None, **asked: object) -> list[str]:
        """Return the ids of the contracts that are listed, over all pages of two."""
        found: list[str] = []
        token = ""
        while True:
            request = pb.ListContractsRequest(page_size=2, page_token=token, **asked)  # type: ignore[arg-type]  # keywords of several types
            page = (owner or self.rep).call(self.shop.stub.ListContracts, request)
            found += [contract.contract_id for contract in page.contracts]
            token = page.next_page_token
            if not token:
                return found

    def product(self, code: str, **fields: str) -> pb.Product:
        """Add a product."""
        product = pb.Product(code=code, name=code, unit="台", price="1", active=True)
        product.fields.extend(pb.FieldValue(key=key, value=value) for key, value in fields.items())
        request = pb.CreateProductRequest(request_id=new_id(), product=product)
        answer: pb.CreateProductResponse = self.boss.call(self.shop.stub.CreateProduct, request)
        return answer.product


@pytest.fixture
def desk(shop: Shop, api: fields_pb2_grpc.FieldsServiceStub) -> Desk:
    """A tenant whose rep sees the own contracts."""
    boss = shop.person("orders.view", "products.manage", "settings.manage", scope="all")
    return Desk(shop, api, shop.person(), boss)


def values(record: pb.Contract | pb.Product) -> dict[str, str]:
    """Return a record's own fields."""
    return {field.key: field.value for field in record.fields}


def is_(key: str, op: str, value: object) -> str:
    """Return a filter of one condition."""
    return json.dumps({"field": f"custom.{key}", "op": op, "value": value})


def test_a_contract_keeps_a_value_of_every_type(desk: Desk) -> None:
    """F241, F242: as typed, as read again, and cleared."""
    for field_type in VALUES:
        choices = ["白", "黑"] if field_type.startswith("choice") else []
        desk.add("contract", field_type, field_type, choices=choices)
    contract = desk.contract(**{key: typed for key, (typed, _) in VALUES.items()})
    assert values(contract) == {key: shown for key, (_, shown) in VALUES.items()}
    # What is read can be typed again.
    again = desk.update(contract, **values(contract))
    assert values(again) == values(contract)
    cleared = desk.update(again, text="", number="5")
    assert ("text" in values(cleared), values(cleared)["number"]) == (False, "5")
    seen = desk.rep.call(desk.shop.stub.GetContract, pb.GetContractRequest(contract_id=contract.contract_id))
    assert [values(version.contract).get("number") for version in seen.versions] == ["5", "1200.5", "1200.5"]
    # F59: a number is its owner's to read; whoever else sees the contract sees it masked.
    boss = desk.boss.call(desk.shop.stub.GetContract, pb.GetContractRequest(contract_id=contract.contract_id))
    assert values(boss.contract)["phone"] == "+86138****8000"
    assert desk.listed(filter=is_("date", "gte", "2026-03-01")) == [contract.contract_id]
    with pytest.raises(InvalidInput, match="FILTER_FIELD_UNKNOWN"):
        desk.listed(filter=is_("phone", "eq", "+8613800138000"))


def test_contracts_are_filtered_sorted_and_searched_by_own_fields(desk: Desk) -> None:
    """F241, F242: as by built-in ones, page by page."""
    desk.add("contract", "rank", "number", listed=True)
    desk.add("contract", "code", searchable=True)
    made = {rank: desk.contract(rank=str(rank), code=f"HT-{rank}").contract_id for rank in (3, 1, 2)}
    without = desk.contract().contract_id
    assert desk.listed(order_by="custom.rank") == [without, made[1], made[2], made[3]]
    assert desk.listed(order_by="-custom.rank") == [made[3], made[2], made[1], without]
    assert desk.listed(filter=is_("rank", "gt", 1), order_by="custom.rank") == [made[2], made[3]]
    assert desk.listed(query="HT-2") == [made[2]]
    assert desk.listed(query="年度", filter=is_("rank", "empty", None)) == [without]
    # Newest first when nobody asks.
    assert desk.listed() == [without, made[2], made[1], made[3]]
    assert desk.listed(desk.shop.person()) == []
    for wrong, reason in (
        ({"order_by": "custom.code"}, "ORDER_UNKNOWN"),
        ({"filter": "["}, "FILTER_INVALID"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            desk.listed(None, **wrong)


def test_what_a_field_asks_of_a_value_is_asked_by_the_server(desk: Desk) -> None:
    """F241: required, longest, unique; each refusal names the field."""
    desk.add("contract", "code", required=True, unique=True, max_length=4)

    def refused(**fields: str) -> tuple[str, str]:
        with pytest.raises(AppError) as error:
            desk.contract(**fields)
        return error.value.reason, str(error.value.metadata["field"])

    first = desk.contract(code="A1")
    assert refused() == ("FIELD_REQUIRED", "fields.code")
    assert refused(code="12345") == ("TEXT_TOO_LONG", "fields.code")
    assert refused(code="A1") == ("FIELD_VALUE_TAKEN", "fields.code")
    assert refused(code="A2", other="x") == ("FIELD_UNKNOWN", "fields.other")
    # A value that was given up is free again.
    desk.update(first, code="B1")
    desk.contract(code="A1")


def test_of_several_contracts_with_one_unique_value_at_once_one_is_made(desk: Desk) -> None:
    """F241: also when a process dies in between: value and contract stand in one transaction."""
    desk.add("contract", "code", unique=True)

    def once(_: int) -> str:
        try:
            desk.contract(code="HT-1")
        except AppError as error:
            return error.reason
        return "made"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(once, range(4)))
    assert outcomes == ["FIELD_VALUE_TAKEN"] * 3 + ["made"]


def test_fields_have_an_order_and_may_be_removed_and_come_back(desk: Desk) -> None:
    """F241, F244."""
    for key in ("a", "b", "c"):
        desk.add("product", key)
    order = fields_pb2.OrderFieldsRequest(request_id=new_id(), object="product", keys=["c", "a"])
    desk.boss.call(desk.api.OrderFields, order)
    assert desk.keys("product") == ["c", "a", "b"]
    assert desk.keys("contract") == []
    product = desk.product("P1", a="一", b="二")

    def change(active: bool) -> None:
        field = fields_pb2.Field(name="甲", active=active)
        request = fields_pb2.UpdateFieldRequest(request_id=new_id(), object="product", key="a", field=field)
        desk.boss.call(desk.api.UpdateField, request)

    change(active=False)
    (shown,) = desk.rep.call(desk.shop.stub.ListProducts, pb.ListProductsRequest()).products
    assert (desk.keys("product"), values(shown)) == (["c", "b"], {"b": "二"})
    change(active=True)
    (shown,) = desk.rep.call(desk.shop.stub.ListProducts, pb.ListProductsRequest()).products
    assert values(shown) == values(product)
    with pytest.raises(AppError, match="FIELD_KEY_TAKEN"):
        desk.add("product", "a")
    with pytest.raises(InvalidInput, match="FIELD_OBJECT_UNKNOWN"):
        desk.add("order", "a")
    rights = desk.rep.call.refused(desk.api.OrderFields, order)
    assert rights.reason == "RIGHT_MISSING"


def test_products_are_filtered_sorted_and_found_by_own_fields(desk: Desk) -> None:
    """F242."""
    desk.add("product", "power", "number")
    desk.add("product", "model", unique=True, searchable=True)
    for code, power, model in (("P1", "3", "X-1"), ("P2", "10", "X-2"), ("P3", "1", "X-3")):
        desk.product(code, power=power, model=model)

    def codes(**asked: str) -> list[str]:
        request = pb.ListProductsRequest(**asked)  # type: ignore[arg-type]  # keywords of several types
        return [product.code for product in desk.rep.call(desk.shop.stub.ListProducts, request).products]

    assert codes(order_by="-custom.power") == ["P2", "P1", "P3"]
    assert codes(filter=is_("power", "between", [1, 3])) == ["P1", "P3"]
    assert codes(query="X-2") == ["P2"]
    with pytest.raises(AppError, match="FIELD_VALUE_TAKEN"):
        desk.product("P4", model="X-1")
