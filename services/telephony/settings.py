"""What telephony's processes read from their environment besides the common settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.settings import SettingsError, required
from services.telephony.pbx.ami import AmiSettings
from services.telephony.pbx.vault import Vault

# The name of the PBX where none is given.
DEFAULT_PBX: Final = "pbx"
# An edge has better to do than the apis: it relays the outbox only where none of them does, this many seconds on.
RELAY_PATIENCE_S: Final = 3.0


@dataclass(frozen=True)
class PbxSettings:
    """What the PBX edge needs.

    name: PBX_NAME, default "pbx"; calls are stored under it, so it never changes. ami: AMI_ADDRESS
    (host:port), AMI_USER, AMI_SECRET. trunks: PBX_TRUNKS, endpoint names that lead outside,
    comma-separated, default "trunk". recordings: PBX_RECORDINGS, the folder where Asterisk's recordings can
    be read; None: they are not fetched. events: PBX_EVENTS, the file into which Asterisk writes its channel
    events; None: what happens while the link is down is told by the resync alone. technology:
    PBX_TECHNOLOGY, default "PJSIP"; dial_context, dial_prefix: PBX_DIAL_CONTEXT, default "from-agents", and
    PBX_DIAL_PREFIX, default "", how a number is dialled for an agent.
    """

    name: str
    ami: AmiSettings
    trunks: frozenset[str]
    recordings: Path | None
    events: Path | None = None
    technology: str = "PJSIP"
    dial_context: str = "from-agents"
    dial_prefix: str = ""


@dataclass(frozen=True)
class ModemPort:
    """Hold where a modem is: its name in the table, and a device or socket:// address."""

    name: str
    port: str


def read_pbx(environ: Mapping[str, str]) -> PbxSettings:
    """Read the PBX edge's settings; raises SettingsError naming the variable that is wrong."""
    host, colon, port = required(environ, "AMI_ADDRESS").rpartition(":")
    if not colon or not port.isdigit():
        raise SettingsError("AMI_ADDRESS is not host:port")
    folder = environ.get("PBX_RECORDINGS", "")
    trunks = environ.get("PBX_TRUNKS", "trunk").split(",")
    return PbxSettings(
        name=environ.get("PBX_NAME") or DEFAULT_PBX,
        ami=AmiSettings(
            host=host,
            port=int(port),
            user=required(environ, "AMI_USER"),
            secret=required(environ, "AMI_SECRET"),
        ),
        trunks=frozenset(name.strip() for name in trunks if name.strip()),
        recordings=Path(folder) if folder else None,
        technology=environ.get("PBX_TECHNOLOGY") or "PJSIP",
        dial_context=environ.get("PBX_DIAL_CONTEXT") or "from-agents",
        dial_prefix=environ.get("PBX_DIAL_PREFIX", ""),
        events=Path(environ["PBX_EVENTS"]) if environ.get("PBX_EVENTS") else None,
    )


def read_vault(environ: Mapping[str, str]) -> Vault | None:
    """Return where recordings are kept: RECORDINGS_URL, a path, a file:// or an s3:// URL; None: they are not.

    Raises SettingsError when it names anything else, and when s3fs is not installed for s3://.
    """
    url = environ.get("RECORDINGS_URL", "")
    try:
        return Vault(url) if url else None
    except (ValueError, ImportError) as error:
        raise SettingsError(f"RECORDINGS_URL: {error}") from error


def read_modems(environ: Mapping[str, str]) -> list[ModemPort]:
    """Return MODEMS, a JSON list of {"name", "port"}; raises SettingsError when it is not that."""
    try:
        listed = json.loads(required(environ, "MODEMS"))
        return [ModemPort(name=str(entry["name"]), port=str(entry["port"])) for entry in listed]
    except (ValueError, TypeError, KeyError):
        raise SettingsError('MODEMS is not a JSON list of {"name", "port"}') from None
