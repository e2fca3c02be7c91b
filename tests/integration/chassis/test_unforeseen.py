"""A tenant newer than the statistics: each index of each table leads to what is looked for."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import Connection, Table, create_engine, select, text, update

from services.__main__ import load
from services.chassis.db import Transaction, sqlalchemy_url
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.store.ledger import lock_customers
from services.customers.usecases.matching import match_phone
from services.customers.usecases.views import View, follow_ups_of, get_customer, list_customers
from services.dedupe.usecases.batches import confirm_batch
from services.leads.store.queries import LeadFilter, find_lead, list_leads
from services.orders.store.queries import OrderFilter, find_order, list_orders, order_of
from services.orders.usecases.contracts import ContractFilter, list_contracts
from services.orders.usecases.quotes import list_quotes
from tests.support.filling import fill, unchecked
from tests.support.reading import rows_read

TABLES = {
    f"{table.schema}.{table.name}": table
    for service in load()
    for table in service.metadata().sorted_tables
    if "tenant_id" in table.c
}
# Rows of the tenant that the statistics know, and of the one that came behind them.
OLD, NEW = 400, 200
# What a look-up of one row may read.
FEW = 5

# Columns of each index that holds every row; no two rows differ in a boolean.
_KEYS = text(
    """
    SELECT DISTINCT array_agg(CAST(a.attname AS text) ORDER BY a.attname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        AND a.atttypid <> CAST('boolean' AS regtype)
    WHERE i.indrelid = CAST(:table AS regclass) AND m.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
    GROUP BY i.indexrelid
    """
)


def _confirm(tx: Transaction, _: Caller, key: str) -> bool:
    confirm_batch(tx, [key])
    return True


# Hot statements, and the tables that they read; every id of a table's row of one number is the same.
Work = Callable[[Transaction, Caller, str], object]
HOT: dict[str, tuple[Work, tuple[str, ...]]] = {
    "who calls": (
        lambda tx, _, __: match_phone(tx, "new7", ""),
        ("customers.phone", "customers.customer", "customers.contact"),
    ),
    "a customer's page": (
        lambda tx, caller, key: (
            get_customer(tx, caller, key),
            follow_ups_of(tx, key, after=None, limit=20),
        ),
        ("customers.phone", "customers.customer", "customers.contact", "customers.follow_up"),
    ),
    "somebody's customers": (
        lambda tx, caller, _: list_customers(
            tx, caller, View.MINE, pool_id="", query="", filter_text="", order_by="", token="", size=20
        )[0],
        ("customers.customer", "customers.phone"),
    ),
    "customers to change": (lambda tx, _, key: lock_customers(tx, [key]), ("customers.customer",)),
    "a lead": (find_lead, ("leads.lead",)),
    "somebody's leads": (
        lambda tx, caller, _: list_leads(tx, caller, LeadFilter(), [], "", 20)[0],
        ("leads.lead",),
    ),
    "an order": (find_order, ('orders."order"',)),
    "an opportunity's order": (lambda tx, _, key: order_of(tx, key), ('orders."order"',)),
    "somebody's orders": (
        lambda tx, caller, _: list_orders(tx, caller, OrderFilter(), None, 20),
        ('orders."order"',),
    ),
    "a customer's orders": (
        lambda tx, caller, key: list_orders(tx, caller, OrderFilter(customer_id=key), None, 20),
        ('orders."order"',),
    ),
    "a customer's contracts": (
        lambda tx, caller, key: list_contracts(tx, caller, ContractFilter(customer_id=key), "", 20)[0],
        ("orders.contract",),
    ),
    "a customer's quotes": (
        lambda tx, caller, key: list_quotes(tx, caller, key, None, 20),
        ("orders.quote",),
    ),
    "reservations to confirm": (
        _confirm,
        ("dedupe.reservation",),
    ),
}
# What the fillings do not know.
STATES = {"customers.customer": "active", "leads.lead": "assigned", "dedupe.reservation": "reserved"}


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    """A transaction that comes to nothing."""
    engine = create_engine(sqlalchemy_url(settings.database_urls["main"]))
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_look_up_reads_what_it_looks_for_and_not_all_that_a_new_tenant_has(
    connection: Connection, table: Table
) -> None:
    """The planner would take any index that begins with the tenant for as good as the one that is meant."""
    keys = [
        [name for name in columns if name != "tenant_id"]
        for columns in connection.scalars(_KEYS, {"table": f'"{table.schema}"."{table.name}"'})
        if "tenant_id" in columns
    ]
    if not any(keys):
        return
    unchecked(connection, table)
    fill(connection, table, new_id(), "old", OLD)
    connection.exec_driver_sql(f'ANALYZE "{table.schema}"."{table.name}"')
    tenant_id = new_id()
    fill(connection, table, tenant_id, "new", NEW)
    row = connection.execute(select(table).where(table.c.tenant_id == tenant_id).limit(1)).mappings().one()
    for key in filter(None, keys):
        look_up = partial(
            connection.execute,
            select(table.c.tenant_id).where(
                table.c.tenant_id == tenant_id, *(table.c[name] == row[name] for name in key)
            ),
        )
        assert rows_read(connection, look_up, f'{table.schema}."{table.name}"') <= FEW, key


@pytest.mark.parametrize("what", HOT)
def test_what_is_asked_all_day_reads_few_of_a_new_tenants_rows(connection: Connection, what: str) -> None:
    """None of its look-ups goes by an index that is meant for another one."""
    work, names = HOT[what]
    tenant = Tenant(new_id(), "main")
    for name in names:
        table = TABLES[name.replace('"', "")]
        unchecked(connection, table)
        fill(connection, table, new_id(), "old", OLD)
        connection.exec_driver_sql(f"ANALYZE {name}")
        fill(connection, table, tenant.id, "new", NEW)
        if name in STATES:
            connection.execute(update(table).values(state=STATES[name]))
    connection.execute(text("SELECT set_config('crm.tenant', :tenant, true)"), {"tenant": tenant.id})
    seventh = str(connection.scalar(text("SELECT CAST(md5('new7') AS uuid)")))
    caller = Caller(tenant, person_id=seventh, rights=frozenset({"numbers.view_all"}))
    service = names[0].partition(".")[0]
    metadata = next(one for one in load() if one.name == service).metadata()
    tables = {name: metadata.tables[f"{service}.{name}"] for name in ("outbox", "inbox", "request")}
    tx = Transaction(connection, tenant, seventh, datetime.now(UTC), service, tables)

    def once() -> None:
        assert work(tx, caller, seventh)

    assert rows_read(connection, once, *names) <= FEW * len(names)
    tx.session.close()
