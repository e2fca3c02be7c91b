"""The activity of the expiry: one transaction, which may be repeated."""

from temporalio import activity

from services.chassis.db import Store
from services.orders.usecases.contracts import expire_contracts
from services.orders.workflows.contracts import EXPIRE, ExpireAt

# Contracts in one transaction.
BATCH = 200


class ExpiryActivities:
    """The activity with what it works on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=EXPIRE)
    def expire(self, at: ExpireAt) -> bool:
        """Expire a batch of what is over; return whether there may be more."""
        with self._store.transaction(at.tenant, now=at.now) as tx:
            return expire_contracts(tx, BATCH)
