"""What notify knows of tenants."""

from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.notify.store.tables import Tenant


def name_tenant(tx: Transaction, name: str) -> None:
    """Keep the tenant's name."""
    added = insert(Tenant).values(tenant_id=tx.tenant.id, name=name)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id"], set_={"name": name}))
