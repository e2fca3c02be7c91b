"""Who calls: signed, short-lived tokens, checked by every service itself.

Each issuer has an Ed25519 key of its own. Only `identity` may speak for a person; any other issuer speaks
only for itself, on behalf of an actor whom it names. A stolen service key therefore cannot become a person.
"""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from services.chassis.errors import Unauthenticated
from services.chassis.tenancy import Tenant

# Issuer of persons' tokens.
IDENTITY = "identity"
# Life of a person's token: a disabled account ends at the latest this much later.
PERSON_TOKEN_S = 60
# Life of a service's token.
SERVICE_TOKEN_S = 60
ALGORITHM = "EdDSA"
# Tokens that a process remembers to have checked.
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class Caller:
    """Who is behind a call, as the token says.

    Exactly one of person_id (a person called) and service (a service called) is set. actor_id: the person on
    whose behalf it is done, the person itself or the one a service names, empty for the system. tenant is
    absent only for calls before a tenant is known. scope: self, subordinates, department_only, department (and below),
    regions or all; paths: of the departments that the person sees with all below them beside the own one (as a head,
    or as regions). epoch: of the account, which is the person, or the maker of a key. is_key: an outside system's API
    key instead of a person; it may do what its rights name and nothing that is open to any person. locale: "zh-CN" or
    "en".
    """

    tenant: Tenant | None
    person_id: str = ""
    name: str = ""
    rights: frozenset[str] = frozenset()
    scope: str = "self"
    department_path: str = ""
    paths: tuple[str, ...] = ()
    epoch: int = 0
    account_id: str = ""
    is_key: bool = False
    service: str = ""
    actor_id: str = ""
    locale: str = "zh-CN"


def generate_key() -> tuple[str, str]:
    """Return a new (private, public) Ed25519 pair, raw bytes in base64."""
    private = Ed25519PrivateKey.generate()
    private_raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public_raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(private_raw).decode(), base64.b64encode(public_raw).decode()


class Signer:
    """Signs tokens of one issuer; thread-safe; service tokens are reused for half their life."""

    def __init__(self, issuer: str, private_key: str) -> None:
        self.issuer = issuer
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private_key))
        self._cache: dict[tuple[Tenant | None, str], tuple[float, str]] = {}
        self._lock = Lock()

    def person_token(self, caller: Caller, now: datetime) -> tuple[str, datetime]:
        """Return a token that says who `caller` is, and when it ends."""
        if caller.tenant is None:
            raise ValueError("a person belongs to a tenant")
        expire = int(now.timestamp()) + PERSON_TOKEN_S
        claims = {
            "iss": self.issuer,
            "sub": caller.person_id,
            "nam": caller.name,
            "ten": caller.tenant.id,
            "db": caller.tenant.database,
            "rig": sorted(caller.rights),
            "sco": caller.scope,
            "dep": caller.department_path,
            "pat": caller.paths,
            "ep": caller.epoch,
            "acc": caller.account_id or caller.person_id,
            "key": caller.is_key,
            "exp": expire,
        }
        return self._sign(claims), datetime.fromtimestamp(expire, UTC)

    def service_token(self, tenant: Tenant | None, actor_id: str = "") -> str:
        """Return a token of this service for calls into a tenant, on behalf of an actor or of nobody."""
        key = (tenant, actor_id)
        now = time.time()
        with self._lock:
            fresh_until, token = self._cache.get(key, (0.0, ""))
            if now < fresh_until:
                return token
            if len(self._cache) > 10_000:
                self._cache.clear()
            claims: dict[str, object] = {
                "iss": self.issuer,
                "exp": int(now) + SERVICE_TOKEN_S,
                "act": actor_id,
            }
            if tenant:
                claims |= {"ten": tenant.id, "db": tenant.database}
            token = self._sign(claims)
            self._cache[key] = (now + SERVICE_TOKEN_S / 2, token)
            return token

    def document(self, kind: str, claims: Mapping[str, object]) -> str:
        """Return a signed document, for evidence: a JWT with `typ` = kind and without an end, so never a token."""
        return jwt.encode(
            {"iss": self.issuer, **claims}, self._key, ALGORITHM, headers={"kid": self.issuer, "typ": kind}
        )

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self.issuer})


class Verifier:
    """Checks tokens against the keys of every issuer; thread-safe.

    Somebody who types calls with one token at every key: its signature is checked once, its end at each call.
    """

    def __init__(self, trusted_keys: Mapping[str, str]) -> None:
        self._known: dict[tuple[str, str], tuple[float, Caller]] = {}
        self._keys = {
            issuer: Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
            for issuer, key in trusted_keys.items()
        }

    def verify(self, token: str, locale: str = "zh-CN") -> Caller:
        """Return who signed the token; raises Unauthenticated TOKEN_INVALID, the same for every fault."""
        end, caller = self._known.get((token, locale), (0.0, None))
        if caller is not None and time.time() < end:
            return caller
        end, caller = self._check(token, locale)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[token, locale] = end, caller
        return caller

    def _check(self, token: str, locale: str) -> tuple[float, Caller]:
        """Return when a token ends and who signed it."""
        try:
            issuer = jwt.get_unverified_header(token).get("kid", "")
            claims = jwt.decode(
                token, self._keys[issuer], [ALGORITHM], issuer=issuer, options={"require": ["exp", "iss"]}
            )
            end = float(claims["exp"])
            tenant = Tenant(claims["ten"], claims["db"]) if "ten" in claims else None
            if issuer == IDENTITY and tenant and "sub" in claims:
                return end, Caller(
                    tenant=tenant,
                    person_id=claims["sub"],
                    name=claims["nam"],
                    rights=frozenset(claims["rig"]),
                    scope=claims["sco"],
                    department_path=claims["dep"],
                    # Tokens of a release before had neither; they live for a minute.
                    paths=tuple(claims.get("pat", ())),
                    epoch=claims["ep"],
                    account_id=claims.get("acc", claims["sub"]),
                    is_key=claims["key"],
                    actor_id=claims["sub"],
                    locale=locale,
                )
            return end, Caller(tenant=tenant, service=issuer, actor_id=claims.get("act", ""), locale=locale)
        except (jwt.PyJWTError, KeyError, TypeError):
            raise Unauthenticated(
                "TOKEN_INVALID", "登录已失效，请重新登录", "The session has ended; sign in again"
            ) from None
