"""A tenant and where its data lives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tenant:
    """A tenant as it travels in tokens, events and workflow payloads.

    id: UUID. database: name of the database that holds its rows, a key of `Settings.database_urls`.
    """

    id: str
    database: str
