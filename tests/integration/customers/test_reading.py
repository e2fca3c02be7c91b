"""What a look-up reads in a tenant that came since statistics were made: what it finds, not all that there is."""

from datetime import timedelta

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.ids import new_id
from services.customers.domain.search import found_by
from services.customers.store.tables import Contact, Customer, Phone
from services.customers.usecases.matching import match_phone
from tests.integration.customers.office import HEAD, MANAGER, Office
from tests.support.reading import rows_read

# Customers of the tenant, each with a contact and a number.
MANY = 400
TABLES = ("customers.customer", "customers.contact", "customers.phone")


def fill(tx: Transaction, pool_id: str) -> list[str]:
    """Add many customers to a pool; return their ids."""
    ids = [new_id() for _ in range(MANY)]
    own = [{"tenant_id": tx.tenant.id, "customer_id": customer_id} for customer_id in ids]
    contact_ids = {customer_id: new_id() for customer_id in ids}
    blank = dict.fromkeys(("level", "region", "address", "business_type", "owner_department_path"), "")
    customers = [
        {
            **row,
            **blank,
            "name": f"云帆{number}号公司",
            "state": "active",
            "pool_id": pool_id,
            "rule_version": 1,
            "create_time": tx.now - timedelta(seconds=number),
            "version": 1,
            **found_by(f"云帆{number}号公司"),
        }
        for number, row in enumerate(own)
    ]
    contacts = [
        {
            **row,
            **dict.fromkeys(("title", "address", "account", "hobbies"), ""),
            "contact_id": contact_ids[row["customer_id"]],
            "name": f"联系人{number}",
            "position": 0,
            "create_time": tx.now,
        }
        for number, row in enumerate(own)
    ]
    phones = [
        {
            **row,
            "phone_id": new_id(),
            "contact_id": contact_ids[row["customer_id"]],
            "e164": f"+86138{number:08}",
            "extension": "",
            "position": 0,
        }
        for number, row in enumerate(own)
    ]
    for table, rows in ((Customer, customers), (Contact, contacts), (Phone, phones)):
        tx.session.execute(insert_rows(table, rows))
    return ids


def test_a_pop_reads_whom_it_finds(office: Office) -> None:
    """F3: the number, its customer and its contact, not every customer to find out whose number it is."""
    manager = office.hire(MANAGER, HEAD, "all")
    pool_id = office.pool(manager).pool_id
    office.run(lambda tx: fill(tx, pool_id))
    with office.store.transaction(office.tenant) as tx:

        def once() -> None:
            assert len(match_phone(tx, "+8613800000007", manager.id)) == 1

        # Each counts twice: as an entry of its index, and as a row.
        assert rows_read(tx, once, *TABLES) <= 12
