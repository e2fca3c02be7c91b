"""The business registry (工商): a port and its two providers, a file and an HTTP service.

    REGISTRY_URL     of an HTTP provider; without one the file is asked
    REGISTRY_TOKEN   its bearer token
    REGISTRY_FILE    CSV of companies; without one the sample that comes with the product

Contract of the HTTP provider, JSON in UTF-8, `Authorization: Bearer <token>`:

    GET <url>/companies?query=<text>&limit=10      {"companies": [<company>, ...]}, best first
    GET <url>/companies/<credit code>              <company>, or status 404

    <company>: {"creditCode", "name", "legalPerson", "address", "region", "status", "businessType", "foundDate"}, texts;
    the first two are always there.

Guarantees: an answer within the time-out or Unavailable REGISTRY_UNAVAILABLE; answers are kept for a while; after
some failures in a row the provider is left alone for a while, and typing a customer goes on without candidates.
"""

import csv
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from services.chassis.errors import InvalidInput, Unavailable
from services.chassis.logging import get_logger
from services.chassis.settings import SettingsError
from services.customers.domain.registry import MOST_CANDIDATES, Company
from services.kernel.credit_codes import parse_credit_code

log = get_logger(__name__)

SAMPLE = Path(__file__).parent / "samples" / "companies.csv"

# Longest wait for a provider, in seconds: somebody is typing.
TIMEOUT_S = 2.0
# Longest answer that is read.
LARGEST_ANSWER_BYTES = 1024 * 1024
# How long an answer is kept, in seconds, and how many.
CACHE_S = 3600.0
CACHE_ENTRIES = 2000
# Failures in a row after which a provider is left alone, and for how long, in seconds.
FAILURES_TO_OPEN = 5
OPEN_S = 30.0

# Company's fields by their names in JSON.
NAMES = {
    "creditCode": "credit_code",
    "name": "name",
    "legalPerson": "legal_person",
    "address": "address",
    "region": "region",
    "status": "status",
    "businessType": "business_type",
    "foundDate": "found_date",
}

Found = TypeVar("Found")
Clock = Callable[[], float]


class CompanyRegistry(Protocol):
    """Where registered companies are looked up."""

    def search(self, query: str) -> list[Company]:
        """Return the companies whose name has the query in it, best first, at most 10; raises Unavailable."""

    def get(self, credit_code: str) -> Company | None:
        """Return a company with everything that is known; raises Unavailable."""


def registry_from(environ: Mapping[str, str]) -> CompanyRegistry:
    """Return the registry that the settings name; raises SettingsError for one that cannot be."""
    url = environ.get("REGISTRY_URL", "")
    if url:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError("REGISTRY_URL is not an http or https address")
        return Guarded(HttpRegistry(url, environ.get("REGISTRY_TOKEN", "")))
    return FileRegistry(Path(environ.get("REGISTRY_FILE") or SAMPLE))


class FileRegistry:
    """Companies from a CSV, read at the first question. columns: as of the JSON contract."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._companies: dict[str, Company] | None = None

    def search(self, query: str) -> list[Company]:
        """Return names that begin with the query, then those that have it inside."""
        wanted = _plain(query)
        found = [
            (place, len(company.name), company.name, company)
            for company in self._all().values()
            if (place := _plain(company.name).find(wanted)) >= 0
        ]
        return [company for *_, company in sorted(found, key=lambda item: item[:3])[:MOST_CANDIDATES]]

    def get(self, credit_code: str) -> Company | None:
        """Return a company."""
        return self._all().get(credit_code)

    def _all(self) -> dict[str, Company]:
        with self._lock:
            if self._companies is None:
                with self._path.open(encoding="utf-8-sig", newline="") as file:
                    companies = [company_of(row) for row in csv.DictReader(file)]
                self._companies = {company.credit_code: company for company in companies}
            return self._companies


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def company_of(record: Mapping[str, object]) -> Company:
    """Return the company of a record; raises ValueError for one that is none."""
    texts = {field: record.get(name) or "" for name, field in NAMES.items()}
    if not all(isinstance(text, str) for text in texts.values()) or not texts["name"]:
        raise ValueError("a company has texts, and a name")
    try:
        code = parse_credit_code(str(texts["credit_code"]), "creditCode")
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return Company(**{**{field: str(text) for field, text in texts.items()}, "credit_code": code})


class _NoRedirect(HTTPRedirectHandler):
    """A provider answers itself: a redirect would take the token elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""


class HttpRegistry:
    """A provider that speaks the contract above. url: without a slash at the end."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._opener = build_opener(_NoRedirect)

    def search(self, query: str) -> list[Company]:
        """Ask for candidates."""
        answer = self._ask(f"/companies?{urlencode({'query': query, 'limit': MOST_CANDIDATES})}")
        companies = answer.get("companies") if answer else None
        if not isinstance(companies, list):
            raise _unavailable()
        return [self._company(company) for company in companies[:MOST_CANDIDATES]]

    def get(self, credit_code: str) -> Company | None:
        """Ask for one company."""
        answer = self._ask(f"/companies/{quote(credit_code)}")
        return self._company(answer) if answer is not None else None

    def _company(self, record: object) -> Company:
        try:
            if isinstance(record, dict):
                return company_of(record)
        except ValueError as error:
            log.warning("the registry gave what is no company", error=str(error))
        raise _unavailable()

    def _ask(self, path: str) -> dict[str, object] | None:
        """Return the object that is answered, None for 404."""
        request = Request(self._url + path, headers={"Accept": "application/json"})  # noqa: S310 - the operator's own
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                answer = json.loads(response.read(LARGEST_ANSWER_BYTES))
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise _unavailable() from error
        except (URLError, OSError, HTTPException, ValueError) as error:
            raise _unavailable() from error
        if not isinstance(answer, dict):
            raise _unavailable()
        return answer


def _unavailable() -> Unavailable:
    return Unavailable(
        "REGISTRY_UNAVAILABLE",
        "工商信息暂不可用，可直接填写",
        "The business registry is unavailable; type it in yourself",
    )


class Guarded:
    """A registry behind a cache and a circuit breaker. clock: seconds that only grow."""

    def __init__(self, inner: CompanyRegistry, clock: Clock = time.monotonic) -> None:
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, object]] = OrderedDict()
        self._failures = 0
        self._closed_until = 0.0

    def search(self, query: str) -> list[Company]:
        """Return candidates, of a while ago perhaps."""
        return self._ask(("search", _plain(query)), lambda: self._inner.search(query))

    def get(self, credit_code: str) -> Company | None:
        """Return a company, as of a while ago perhaps."""
        return self._ask(("get", credit_code), lambda: self._inner.get(credit_code))

    def _ask(self, key: tuple[str, str], ask: Callable[[], Found]) -> Found:
        with self._lock:
            now = self._clock()
            kept_until, answer = self._kept.get(key, (0.0, None))
            if now < kept_until:
                return answer  # type: ignore[return-value]  # what the same question gave
            if now < self._closed_until:
                raise _unavailable()
        try:
            found = ask()
        except Unavailable:
            self._failed()
            raise
        with self._lock:
            self._failures = 0
            self._kept[key] = (self._clock() + CACHE_S, found)
            self._kept.move_to_end(key)
            while len(self._kept) > CACHE_ENTRIES:
                self._kept.popitem(last=False)
        return found

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                log.warning("the registry is left alone for a while", failures=self._failures)
                self._closed_until = self._clock() + OPEN_S
                # One more failure behind the pause begins the next one.
                self._failures = FAILURES_TO_OPEN - 1
