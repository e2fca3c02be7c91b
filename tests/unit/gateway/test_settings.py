"""A gateway that is set up wrongly says which variable it is."""

import json

import pytest

from services.chassis.settings import SettingsError
from services.gateway.routes import CONTRACTS
from services.gateway.settings import Settings

COMPLETE = {
    "AMQP_URL": "amqp://guest:guest@127.0.0.1/",
    "SIGNING_KEYS": json.dumps({"gateway": "a secret key"}),
    **{f"{name.upper()}_ADDRESS": f"ipv4:127.0.0.1:{7000 + index}" for index, name in enumerate(CONTRACTS)},
}


def test_the_environment_is_read() -> None:
    settings = Settings.read(COMPLETE | {"PORT": "8000", "BIND_ADDRESS": "0.0.0.0"})  # noqa: S104 - only read
    assert settings.addresses["identity"] == "ipv4:127.0.0.1:7000"
    assert (settings.port, settings.bind_address, settings.session_cache_s) == (8000, "0.0.0.0", 20)  # noqa: S104  # in a container
    assert "a secret key" not in repr(settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AMQP_URL": ""}, "AMQP_URL"),
        ({"NOTIFY_ADDRESS": ""}, "NOTIFY_ADDRESS"),
        ({"SIGNING_KEYS": "{}"}, "SIGNING_KEYS"),
        ({"PORT": "http"}, "PORT"),
        ({"TLS_CERTIFICATE": "/tls.pem"}, "TLS_KEY"),
    ],
)
def test_a_missing_or_malformed_variable_is_named(change: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.read(COMPLETE | change)
