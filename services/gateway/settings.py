"""Settings of the gateway, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.settings import InternalTls, SettingsError, integer, required, string_map
from services.gateway.limits import Allowances
from services.gateway.routes import CONTRACTS

# Who the gateway is towards identity.
ISSUER = "gateway"


@dataclass(frozen=True)
class Settings:
    """What the gateway needs to know.

    addresses: gRPC target of every service, from IDENTITY_ADDRESS and so on. amqp_url: RabbitMQ.
    signing_key: the gateway's own Ed25519 key, base64, from SIGNING_KEYS. bind_address: default 127.0.0.1.
    port: of HTTP, default 8080. metrics_port: Prometheus, 0 is off, at metrics_address,
    default 127.0.0.1. log_level: default INFO.
    tls_certificate, tls_key: PEM files; both or none; without them a proxy in front speaks TLS, or nobody does.
    session_cache_s: how long, in seconds, an exchanged session is trusted without asking identity again, unless
    identity says that something changed. alive_s: seconds without news after which a live socket's page is told that it
    lives, for a browser does not see pings; pages count on it. internal_tls: of gRPC to the services. allowances:
    how much one may ask. web: folder of the built desktop.
    """

    addresses: Mapping[str, str]
    amqp_url: str
    signing_key: str = field(repr=False)
    bind_address: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"
    log_level: str = "INFO"
    tls_certificate: str = ""
    tls_key: str = ""
    session_cache_s: float = 20.0
    alive_s: float = 20.0
    internal_tls: InternalTls | None = None
    allowances: Allowances = field(default_factory=Allowances)
    web: Path = Path(__file__).parent / "web" / "dist"

    @staticmethod
    def read(environ: Mapping[str, str]) -> "Settings":
        """Read the environment; raises SettingsError naming the variable that is wrong."""
        keys = string_map(environ, "SIGNING_KEYS")
        if ISSUER not in keys:
            raise SettingsError(f"SIGNING_KEYS has no key for {ISSUER}")
        certificate, key = environ.get("TLS_CERTIFICATE", ""), environ.get("TLS_KEY", "")
        if bool(certificate) is not bool(key):
            raise SettingsError("TLS_CERTIFICATE and TLS_KEY need each other")
        return Settings(
            addresses={name: required(environ, f"{name.upper()}_ADDRESS") for name in CONTRACTS},
            amqp_url=required(environ, "AMQP_URL"),
            signing_key=keys[ISSUER],
            bind_address=environ.get("BIND_ADDRESS", "127.0.0.1"),
            port=integer(environ, "PORT", 8080),
            metrics_port=integer(environ, "METRICS_PORT", 0),
            metrics_address=environ.get("METRICS_ADDRESS", "127.0.0.1"),
            log_level=environ.get("LOG_LEVEL", "INFO"),
            session_cache_s=integer(environ, "SESSION_CACHE_S", 20),
            tls_certificate=certificate,
            tls_key=key,
            internal_tls=InternalTls.read(environ),
            allowances=Allowances(
                integer(environ, "REQUESTS_PER_SECOND", Allowances.requests_per_second),
                integer(environ, "TENANT_REQUESTS_AT_ONCE", Allowances.in_flight),
                integer(environ, "SIGN_INS_PER_MINUTE", Allowances.sign_ins_per_minute),
            ),
        )
