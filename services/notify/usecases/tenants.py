"""What notify knows of tenants."""

from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.notify.domain.contacts import ReminderPolicy
from services.notify.domain.notices import next_minute
from services.notify.store.tables import Tenant
from services.notify.usecases.deliveries import wake


def name_tenant(tx: Transaction, name: str) -> None:
    """Keep the tenant's name, and let its lists of the day begin."""
    daily_time = next_minute(tx.now, ReminderPolicy().daily_minute)
    added = insert(Tenant).values(tenant_id=tx.tenant.id, name=name, daily_time=daily_time)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id"], set_={"name": name}))
    wake(tx)
