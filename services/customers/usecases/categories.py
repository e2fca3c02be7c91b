"""The tree of customer categories: named, moved with all below, never deeper than it may be."""

from collections.abc import Sequence

from sqlalchemy import exists, func, select, text

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, InvalidInput, RuleViolation, not_found
from services.chassis.ids import new_id
from services.customers.store.record_tables import Category
from services.customers.store.tables import Customer

# Levels of the tree (F63), and nodes of it.
DEEPEST = 6
MOST_CATEGORIES = 1000


def list_categories(tx: Transaction) -> Sequence[Category]:
    """Return the tree, parents before children."""
    rows = tx.session.scalars(select(Category).where(Category.tenant_id == tx.tenant.id)).all()
    return sorted(rows, key=lambda row: (depth_of(row), row.name))


def depth_of(category: Category) -> int:
    """Return how deep a category is, 1 at the top."""
    return category.path.count("/")


def check_category(tx: Transaction, category_id: str) -> None:
    """Raise InvalidInput CATEGORY_UNKNOWN unless it is "" or a category there is."""
    # Held until the customer is written: a category is not removed meanwhile.
    held = {"read": True, "key_share": True}
    if category_id and not tx.session.get(Category, (tx.tenant.id, category_id), with_for_update=held):
        raise InvalidInput(
            "category_id", "CATEGORY_UNKNOWN", "没有这样的客户分类", "There is no such category"
        )


def create_category(tx: Transaction, parent_id: str, name: str) -> Category:
    """Add a category; raises NotFound, RuleViolation CATEGORY_TOO_DEEP, AlreadyExists CATEGORY_NAME_TAKEN (F63)."""
    _lock_tree(tx)
    parent = _get(tx, parent_id) if parent_id else None
    if len(list_categories(tx)) >= MOST_CATEGORIES:
        raise InvalidInput(
            "name", "TOO_MANY", "最多{most}个分类", "At most {most} categories", most=MOST_CATEGORIES
        )
    category_id = new_id()
    category = Category(
        tenant_id=tx.tenant.id,
        category_id=category_id,
        parent_id=parent_id or None,
        name=name,
        path=f"{parent.path if parent else ''}{category_id}/",
        version=1,
    )
    _check_depth(depth_of(category))
    _check_name(tx, category)
    tx.session.add(category)
    return category


def update_category(tx: Transaction, category_id: str, name: str | None, parent_id: str | None) -> Category:
    """Rename a category, or move it with all below under another one, "" for the top.

    Raises NotFound CATEGORY_NOT_FOUND, RuleViolation CATEGORY_IN_ITSELF or CATEGORY_TOO_DEEP, AlreadyExists
    CATEGORY_NAME_TAKEN. The customers stay in their categories, and so move with them.
    """
    _lock_tree(tx)
    category = _get(tx, category_id)
    if name is not None:
        category.name = name
    if parent_id is not None:
        parent = _get(tx, parent_id) if parent_id else None
        if parent and parent.path.startswith(category.path):
            raise RuleViolation(
                "CATEGORY_IN_ITSELF", "分类不能移动到自身或其下级", "A category cannot move below itself"
            )
        old, new = category.path, f"{parent.path if parent else ''}{category.category_id}/"
        below = [row for row in list_categories(tx) if row.path.startswith(old)]
        _check_depth(max(depth_of(row) for row in below) - depth_of(category) + new.count("/"))
        for row in below:
            row.path = new + row.path.removeprefix(old)
        category.parent_id = parent_id or None
    _check_name(tx, category)
    category.version += 1
    return category


def delete_category(tx: Transaction, category_id: str) -> None:
    """Remove a category that nothing is in; raises NotFound CATEGORY_NOT_FOUND, RuleViolation CATEGORY_IN_USE."""
    _lock_tree(tx)
    category = _get(tx, category_id)
    used = tx.session.scalar(
        select(
            exists().where(Customer.tenant_id == tx.tenant.id, Customer.category_id == category_id)
            | exists().where(Category.tenant_id == tx.tenant.id, Category.parent_id == category_id)
        )
    )
    if used:
        raise RuleViolation(
            "CATEGORY_IN_USE", "分类下还有客户或下级分类", "The category has customers or categories in it"
        )
    tx.session.delete(category)


def branch(tx: Transaction, category_id: str) -> list[str]:
    """Return the names from the top to a category."""
    category = tx.session.get(Category, (tx.tenant.id, category_id))
    if category is None:
        return []
    above = [part for part in category.path.split("/") if part]
    if len(above) == 1:
        return [category.name]
    rows = tx.session.execute(
        select(Category.category_id, Category.name).where(
            Category.tenant_id == tx.tenant.id, Category.category_id.in_(above)
        )
    )
    names = {row.category_id: row.name for row in rows}
    return [names[part] for part in above]


def _lock_tree(tx: Transaction) -> None:
    """One at a time changes the tree: two moves at once could make a circle."""
    key = select(func.pg_advisory_xact_lock(func.hashtextextended(f"categories {tx.tenant.id}", text("0"))))
    tx.session.execute(key)


def _get(tx: Transaction, category_id: str) -> Category:
    category = tx.session.get(Category, (tx.tenant.id, category_id), with_for_update=True)
    if category is None:
        raise not_found("category", "分类", category_id)
    return category


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise RuleViolation(
            "CATEGORY_TOO_DEEP", "分类最多{most}级", "Categories have at most {most} levels", most=DEEPEST
        )


def _check_name(tx: Transaction, category: Category) -> None:
    for row in list_categories(tx):
        same = row.parent_id == category.parent_id and row.name == category.name
        if same and row.category_id != category.category_id:
            raise AlreadyExists(
                "CATEGORY_NAME_TAKEN",
                "同级已有该名称的分类",
                "A category beside it has this name",
                field="name",
            )
