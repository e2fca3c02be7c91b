"""A registered company, as every provider of the business registry (工商) gives it."""

from dataclasses import dataclass

# Candidates of one search.
MOST_CANDIDATES = 10
# What must be typed before a search says anything.
SHORTEST_QUERY = 2


@dataclass(frozen=True)
class Company:
    """A company. credit_code: unified social credit code. found_date: YYYY-MM-DD or ""."""

    credit_code: str
    name: str
    legal_person: str = ""
    address: str = ""
    region: str = ""
    status: str = ""
    business_type: str = ""
    found_date: str = ""
