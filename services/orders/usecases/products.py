"""What is sold: products with the tenant's own fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.field_store import definition_of
from services.kernel.fields import MOST_FIELDS, FieldDefinition, check_definition, parse_values
from services.kernel.filters import Context, Kind
from services.kernel.listing import RecordList
from services.kernel.money import parse_amount
from services.kernel.texts import parse_text
from services.kernel.visibility import sees_every_number
from services.orders.store.tables import Product
from services.orders.usecases.fields import FIELDS, FieldObject

# Products in one list.
MOST_LISTED = 1000
PRODUCTS = RecordList(
    id=Product.id,
    document=Product.fields,
    built_in={
        "code": (Kind.TEXT, Product.code),
        "name": (Kind.TEXT, Product.name),
        "unit": (Kind.TEXT, Product.unit),
        "price": (Kind.NUMBER, Product.price),
        "active": (Kind.BOOLEAN, Product.active),
    },
    sorted_by={"code": (Product.code, str), "name": (Product.name, str), "price": (Product.price, Decimal)},
    first="code",
)


@dataclass(frozen=True)
class ProductInput:
    """A product as typed. price: CNY. fields: the tenant's own by key."""

    code: str
    name: str
    unit: str
    price: str
    active: bool
    fields: Mapping[str, str]


def product_fields(tx: Transaction) -> list[FieldDefinition]:
    """Return the tenant's own fields of products, in order."""
    return FIELDS.definitions(tx, FieldObject.PRODUCT)


def update_product_fields(tx: Transaction, fields: Sequence[FieldDefinition]) -> list[FieldDefinition]:
    """Set the tenant's own fields of products as a whole; those that are not named are removed.

    Raises InvalidInput naming the field: FIELDS_OUT_OF_RANGE, FIELD_KEY_TAKEN, FIELD_TYPE_FIXED when a known key gets
    another type, and as `check_definition`.
    """
    if len(fields) > MOST_FIELDS:
        raise InvalidInput(
            "fields", "FIELDS_OUT_OF_RANGE", "最多{most}个字段", "At most {most} fields", most=MOST_FIELDS
        )
    before = {row.key: row for row in FIELDS.rows(tx, FieldObject.PRODUCT, removed=True)}
    wanted: dict[str, FieldDefinition] = {}
    for index, given in enumerate(fields):
        definition = check_definition(given, f"fields[{index}]")
        if definition.key in wanted:
            raise InvalidInput(
                f"fields[{index}].key", "FIELD_KEY_TAKEN", "字段标识重复", "Two fields have this key"
            )
        known = before.get(definition.key)
        if known and known.type != definition.type:
            raise InvalidInput(
                f"fields[{index}].type",
                "FIELD_TYPE_FIXED",
                "字段类型不能修改",
                "The type of a field never changes",
            )
        wanted[definition.key] = definition
    for definition in wanted.values():
        known = before.get(definition.key)
        if known is None:
            FIELDS.create(tx, FieldObject.PRODUCT, definition)
        else:
            # What this contract does not know of a field stays.
            kept = replace(
                definition_of(known),
                name=definition.name,
                required=definition.required,
                choices=definition.choices,
            )
            FIELDS.update(tx, FieldObject.PRODUCT, known.key, kept, active=True)
    for row in before.values():
        if row.active and row.key not in wanted:
            row.active = False
            row.version += 1
    FIELDS.order(tx, FieldObject.PRODUCT, list(wanted))
    tx.session.flush()
    return [definition_of(row) for row in FIELDS.rows(tx, FieldObject.PRODUCT)]


def create_product(tx: Transaction, given: ProductInput) -> Product:
    """Add a product; raises InvalidInput naming the field, AlreadyExists PRODUCT_EXISTS."""
    code = parse_text(given.code, "product.code", 50)
    fields = parse_values(product_fields(tx), given.fields, "product.fields")
    product = tx.session.scalars(
        insert(Product)
        .values(
            id=new_id(),
            tenant_id=tx.tenant.id,
            code=code,
            **_values(given),
            fields=fields,
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(Product)
    ).one_or_none()
    if product is None:
        raise _taken(code)
    FIELDS.hold(tx, FieldObject.PRODUCT, product.id, fields, path="product.fields")
    return product


def update_product(tx: Transaction, product_id: str, given: ProductInput, version: int) -> Product:
    """Change a product; raises as `create_product`, NotFound PRODUCT_NOT_FOUND, Conflict PRODUCT_CHANGED."""
    product_id = parse_id(product_id, "product_id")
    product = tx.session.scalar(
        select(Product).where(Product.tenant_id == tx.tenant.id, Product.id == product_id).with_for_update()
    )
    if product is None:
        raise not_found("product", "产品", product_id)
    if product.version != version:
        raise Conflict(
            "PRODUCT_CHANGED", "产品已被他人修改，请刷新后重试", "The product was changed meanwhile"
        )
    code = parse_text(given.code, "product.code", 50)
    taken = select(Product.id).where(
        Product.tenant_id == tx.tenant.id, Product.code == code, Product.id != product_id
    )
    if tx.session.scalar(taken):
        raise _taken(code)
    product.code = code
    for name, value in _values(given).items():
        setattr(product, name, value)
    before = product.fields
    product.fields = parse_values(product_fields(tx), given.fields, "product.fields", before=before)
    FIELDS.hold(tx, FieldObject.PRODUCT, product.id, product.fields, before, "product.fields")
    product.version += 1
    return product


def list_products(
    tx: Transaction, caller: Caller, query: str, *, inactive: bool, filter_text: str = "", order_by: str = ""
) -> Sequence[Product]:
    """Return products, those whose code or name holds `query` or a searchable field is it.

    Raises InvalidInput below `filter`, and ORDER_UNKNOWN.
    """
    fields = product_fields(tx)
    shown = sees_every_number(caller)
    found = select(Product).where(
        Product.tenant_id == tx.tenant.id,
        PRODUCTS.condition(filter_text, fields, Context(tx.now, caller.person_id), numbers_shown=shown),
    )
    if query:
        wanted = query.lower()
        found = found.where(
            or_(
                func.lower(Product.code).contains(wanted, autoescape=True),
                func.lower(Product.name).contains(wanted, autoescape=True),
                Product.id.in_(FIELDS.found(tx, FieldObject.PRODUCT, [query], numbers_shown=shown)),
            )
        )
    if not inactive:
        found = found.where(Product.active)
    order = PRODUCTS.sorting(order_by, fields)
    return tx.session.scalars(found.order_by(*order.clauses).limit(MOST_LISTED)).all()


def _values(given: ProductInput) -> dict[str, object]:
    return {
        "name": parse_text(given.name, "product.name", 200),
        "unit": parse_text(given.unit, "product.unit", 20, required=False),
        "price": parse_amount(given.price, "product.price"),
        "active": given.active,
    }


def _taken(code: str) -> AlreadyExists:
    return AlreadyExists(
        "PRODUCT_EXISTS", "产品编码“{code}”已存在", "There is a product “{code}” already", code=code
    )
