"""A company for a story: a fresh tenant with a director, a manager, reps and an agent, made as an operator would."""

from dataclasses import dataclass, field

from services.chassis.ids import new_id
from tests.e2e.desk import Desk
from tests.support.unique import letters

# Good enough for a tenant that lives as long as a test.
PASSWORD = "a-password-for-tests"


@dataclass
class Company:
    """A tenant with its people, each with a desk on the given gateway."""

    url: str
    slug: str
    admin: Desk
    desks: dict[str, Desk] = field(default_factory=dict)

    def hire(self, login: str, name: str, role: str, *, mobile: str = "", extension: str = "") -> Desk:
        """Add a person and sign them in."""
        departments = self.admin.get("departments")["departments"]
        self.admin.post(
            "people",
            person={
                "login": login,
                "name": name,
                "mobile": mobile,
                "extension": extension,
                "departmentId": departments[0]["departmentId"],
                "roles": [role],
                "active": True,
            },
            password=PASSWORD,
        )
        self.desks[login] = Desk.sign_in(self.url, self.slug, login, PASSWORD)
        return self.desks[login]

    def at(self, url: str, login: str) -> Desk:
        """Sign a person in on another gateway."""
        return Desk.sign_in(url, self.slug, login, PASSWORD)

    def close(self) -> None:
        """Close every desk."""
        for desk in (self.admin, *self.desks.values()):
            desk.close()


def customer_of(desk: Desk, name: str, mobile: str, contact: str = "") -> dict[str, object]:
    """Create a customer owned by the person at the desk; registration must be off."""
    body: dict[str, object] = {"name": name, "phones": [{"number": mobile}]}
    if contact:
        body = {"name": name, "contacts": [{"name": contact, "phones": [{"number": mobile}]}]}
    customer: dict[str, object] = desk.post("customers", **body)["customer"]
    return customer


def fresh_mobile() -> str:
    """Return a valid mobile number nobody used before in these tests."""
    return f"138{int(new_id().replace('-', ''), 16) % 100_000_000:08d}"


def fresh_name(stem: str) -> str:
    """Return a company name nobody used before."""
    return f"{stem}{letters()}有限公司"
