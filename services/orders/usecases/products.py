"""What is sold: products with the tenant's own fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, InvalidInput, not_found
from services.chassis.ids import new_id, parse_id
from services.kernel.fields import (
    MOST_FIELDS,
    FieldDefinition,
    FieldType,
    check_definition,
    parse_values,
)
from services.kernel.money import parse_amount
from services.kernel.texts import parse_text
from services.orders.store.tables import Product, ProductFields

# Products in one list.
MOST_LISTED = 1000


@dataclass(frozen=True)
class ProductInput:
    """A product as typed. price: CNY. fields: the tenant's own by key."""

    code: str
    name: str
    unit: str
    price: str
    active: bool
    fields: Mapping[str, str]


def product_fields(tx: Transaction, *, lock: bool = False) -> tuple[FieldDefinition, ...]:
    """Return the tenant's own fields of products, in order."""
    query = select(ProductFields).where(ProductFields.tenant_id == tx.tenant.id)
    row = tx.session.scalar(query.with_for_update() if lock else query)
    return tuple(
        FieldDefinition(
            key=item["key"],
            name=item["name"],
            type=FieldType(item["type"]),
            required=item["required"],
            choices=tuple(item["choices"]),
        )
        for item in (row.definitions if row else [])
    )


def update_product_fields(tx: Transaction, fields: Sequence[FieldDefinition]) -> tuple[FieldDefinition, ...]:
    """Set the tenant's own fields of products.

    Raises InvalidInput naming the field: FIELDS_OUT_OF_RANGE, FIELD_KEY_TAKEN, FIELD_TYPE_FIXED when a known key gets
    another type, and as `check_definition`.
    """
    if len(fields) > MOST_FIELDS:
        raise InvalidInput(
            "fields", "FIELDS_OUT_OF_RANGE", "最多{most}个字段", "At most {most} fields", most=MOST_FIELDS
        )
    tx.session.execute(
        insert(ProductFields).values(tenant_id=tx.tenant.id, definitions=[]).on_conflict_do_nothing()
    )
    before = {definition.key: definition.type for definition in product_fields(tx, lock=True)}
    checked: dict[str, FieldDefinition] = {}
    for index, given in enumerate(fields):
        definition = check_definition(given, f"fields[{index}]")
        if definition.key in checked:
            raise InvalidInput(
                f"fields[{index}].key", "FIELD_KEY_TAKEN", "字段标识重复", "Two fields have this key"
            )
        if before.get(definition.key, definition.type) != definition.type:
            raise InvalidInput(
                f"fields[{index}].type",
                "FIELD_TYPE_FIXED",
                "字段类型不能修改",
                "The type of a field never changes",
            )
        checked[definition.key] = definition
    row = tx.session.get_one(ProductFields, tx.tenant.id)
    row.definitions = [
        {
            "key": definition.key,
            "name": definition.name,
            "type": definition.type.value,
            "required": definition.required,
            "choices": list(definition.choices),
        }
        for definition in checked.values()
    ]
    return tuple(checked.values())


def create_product(tx: Transaction, given: ProductInput) -> Product:
    """Add a product; raises InvalidInput naming the field, AlreadyExists PRODUCT_EXISTS."""
    code = parse_text(given.code, "product.code", 50)
    product = tx.session.scalars(
        insert(Product)
        .values(
            id=new_id(),
            tenant_id=tx.tenant.id,
            code=code,
            **_values(given),
            fields=parse_values(product_fields(tx), given.fields, "product.fields"),
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(Product)
    ).one_or_none()
    if product is None:
        raise _taken(code)
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
    product.fields = parse_values(product_fields(tx), given.fields, "product.fields", before=product.fields)
    product.version += 1
    return product


def list_products(tx: Transaction, query: str, *, inactive: bool) -> Sequence[Product]:
    """Return products by code, those whose code or name holds `query`."""
    found = select(Product).where(Product.tenant_id == tx.tenant.id)
    if query:
        wanted = query.lower()
        found = found.where(
            or_(
                func.lower(Product.code).contains(wanted, autoescape=True),
                func.lower(Product.name).contains(wanted, autoescape=True),
            )
        )
    if not inactive:
        found = found.where(Product.active)
    return tx.session.scalars(found.order_by(Product.code).limit(MOST_LISTED)).all()


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
