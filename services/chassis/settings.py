"""Settings that every process reads from its environment.

Names are the environment variables in lower case. Secrets come only from here, or from the files that NAME_FILE names,
and are never logged.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# Every service, in the order in which they are migrated and started.
SERVICES = ("identity", "dedupe", "customers", "leads", "orders", "approvals", "notify", "telephony")
# A missing database name means this one; identity's directory of tenants lives in it.
HOME_DATABASE = "main"


# What may come as a file instead: the variable's name with _FILE behind it has its path. DATABASE_URL_<NAME> too.
SECRETS = (
    "DATABASE_URL",
    "AMQP_URL",
    "SIGNING_KEYS",
    "TRUSTED_KEYS",
    "AMI_SECRET",
    "SMTP_URL",
    "REGISTRY_TOKEN",
)
DATABASE_PREFIX = "DATABASE_URL_"


class SettingsError(Exception):
    """A variable is missing or malformed; the text names it."""


def required(environ: Mapping[str, str], name: str) -> str:
    """Return a variable that has no default; raises SettingsError when absent."""
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def integer(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number; raises SettingsError for anything else."""
    text = environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise SettingsError(f"{name} is not a whole number: {text!r}") from None


def string_map(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Return a JSON object of strings; empty when absent; raises SettingsError for anything else."""
    try:
        value = json.loads(environ.get(name) or "{}")
    except ValueError:
        raise SettingsError(f"{name} is not JSON") from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise SettingsError(f"{name} is not a JSON object of strings")
    return value


def read_secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the secrets that come as files in it; the end of a file's last line is no part of it.

    Raises SettingsError for a file that cannot be read, and for a secret that comes both ways.
    """
    found = dict(environ)
    for variable, path in environ.items():
        name = variable.removesuffix("_FILE")
        if name == variable or not (name in SECRETS or name.startswith(DATABASE_PREFIX)):
            continue
        if name in environ:
            raise SettingsError(f"{name} and {variable} are both set")
        try:
            found[name] = Path(path).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable} cannot be read: {error}") from None
        del found[variable]
    return found


@dataclass(frozen=True)
class InternalTls:
    """PEM files of mutual TLS between the services: what a process shows, and whom it believes."""

    certificate: Path
    key: Path
    ca: Path

    @staticmethod
    def read(environ: Mapping[str, str]) -> "InternalTls | None":
        """Read INTERNAL_TLS_CERTIFICATE, _KEY and _CA, all or none; raises SettingsError when one is missing."""
        names = [f"INTERNAL_TLS_{part}" for part in ("CERTIFICATE", "KEY", "CA")]
        if not any(environ.get(name) for name in names):
            return None
        return InternalTls(*(Path(required(environ, name)) for name in names))


class QueueType(StrEnum):
    """Where RabbitMQ's queues live: on one node, or on several, so that they outlast the loss of one."""

    CLASSIC = "classic"
    QUORUM = "quorum"

    @staticmethod
    def read(environ: Mapping[str, str]) -> "QueueType":
        """Read AMQP_QUEUE_TYPE; raises SettingsError for anything else."""
        text = environ.get("AMQP_QUEUE_TYPE", "") or QueueType.CLASSIC
        try:
            return QueueType(text)
        except ValueError:
            raise SettingsError(f"AMQP_QUEUE_TYPE is neither classic nor quorum: {text!r}") from None


@dataclass(frozen=True)
class Settings:
    """What a process of any service needs to know.

    database_urls: libpq URLs by database name; DATABASE_URL is "main", DATABASE_URL_SOUTH is "south".
    amqp_url: RabbitMQ. queue_type: of its queues, default classic. temporal_address: host:port.
    temporal_namespace: default "default".
    addresses: gRPC target of each service, from IDENTITY_ADDRESS and so on.
    signing_keys: Ed25519 private keys, base64, of the issuers that this process may speak as.
    trusted_keys: Ed25519 public keys, base64, of every issuer.
    bind_address: default 127.0.0.1. port: of the gRPC or HTTP server, 0 takes a free one.
    metrics_port: Prometheus, 0 is off. metrics_address: default 127.0.0.1, so that opening a server opens no metrics.
    log_level: default INFO. internal_tls: of gRPC between the services, None without it.
    """

    database_urls: Mapping[str, str]
    amqp_url: str
    temporal_address: str
    temporal_namespace: str
    addresses: Mapping[str, str]
    signing_keys: Mapping[str, str] = field(repr=False)
    trusted_keys: Mapping[str, str]
    bind_address: str
    port: int
    metrics_port: int
    metrics_address: str
    log_level: str
    internal_tls: InternalTls | None = None
    queue_type: QueueType = QueueType.CLASSIC

    @staticmethod
    def read(environ: Mapping[str, str]) -> "Settings":
        """Read the environment; raises SettingsError naming the variable that is wrong."""
        database_urls = {HOME_DATABASE: required(environ, "DATABASE_URL")} | {
            name.removeprefix(DATABASE_PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(DATABASE_PREFIX)
        }
        addresses = {
            name.removesuffix("_ADDRESS").lower(): value
            for name, value in environ.items()
            if name.endswith("_ADDRESS")
        }
        return Settings(
            database_urls=database_urls,
            amqp_url=required(environ, "AMQP_URL"),
            temporal_address=required(environ, "TEMPORAL_ADDRESS"),
            temporal_namespace=environ.get("TEMPORAL_NAMESPACE", "default"),
            addresses=addresses,
            signing_keys=string_map(environ, "SIGNING_KEYS"),
            trusted_keys=string_map(environ, "TRUSTED_KEYS"),
            bind_address=environ.get("BIND_ADDRESS", "127.0.0.1"),
            port=integer(environ, "PORT", 0),
            metrics_port=integer(environ, "METRICS_PORT", 0),
            metrics_address=environ.get("METRICS_ADDRESS", "127.0.0.1"),
            log_level=environ.get("LOG_LEVEL", "INFO"),
            internal_tls=InternalTls.read(environ),
            queue_type=QueueType.read(environ),
        )
