"""Filters, orders and columns that somebody keeps under a name, for oneself or for everybody."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.store.record_tables import SavedView
from services.customers.usecases.fields import definitions
from services.customers.usecases.listing import filter_kinds, parse_order
from services.customers.usecases.views import View
from services.kernel.filters import Filter

# Views of one person.
MOST_VIEWS = 50


@dataclass(frozen=True)
class ViewDraft:
    """A view as it was given. filter_text: JSON."""

    name: str
    view: View
    filter_text: str
    order_by: str
    columns: tuple[str, ...]
    shared: bool


def list_views(tx: Transaction, caller: Caller) -> Sequence[SavedView]:
    """Return own views and shared ones by name."""
    return tx.session.scalars(
        select(SavedView)
        .where(
            SavedView.tenant_id == tx.tenant.id,
            or_(SavedView.shared, SavedView.person_id == caller.person_id),
        )
        .order_by(SavedView.name, SavedView.view_id)
    ).all()


def save_view(tx: Transaction, caller: Caller, draft: ViewDraft) -> SavedView:
    """Keep a view, in the place of an own one with that name.

    It holds no rows and gives no right: whoever uses it sees what that person may see. Raises InvalidInput below
    `filter`, for order_by, and TOO_MANY.
    """
    filter_ = Filter.parse(draft.filter_text, filter_kinds(definitions(tx)))
    parse_order(tx, draft.order_by)
    mine = tx.session.scalars(
        select(SavedView)
        .where(SavedView.tenant_id == tx.tenant.id, SavedView.person_id == caller.person_id)
        .with_for_update()
    ).all()
    row = next((item for item in mine if item.name == draft.name), None)
    if row is None:
        if len(mine) >= MOST_VIEWS:
            raise InvalidInput(
                "view", "TOO_MANY", "最多{most}个视图", "At most {most} views", most=MOST_VIEWS
            )
        row = SavedView(
            tenant_id=tx.tenant.id,
            view_id=new_id(),
            person_id=caller.person_id,
            name=draft.name,
            version=0,
        )
        tx.session.add(row)
    row.shared = draft.shared
    row.view = draft.view
    row.filter = json.loads(filter_.to_json())
    row.order_by = draft.order_by
    row.columns = list(draft.columns)
    row.version += 1
    return row


def delete_view(tx: Transaction, caller: Caller, view_id: str) -> None:
    """Forget an own view; raises NotFound VIEW_NOT_FOUND."""
    row = tx.session.get(SavedView, (tx.tenant.id, view_id))
    if row is None or row.person_id != caller.person_id:
        raise not_found("view", "视图", view_id)
    tx.session.delete(row)
