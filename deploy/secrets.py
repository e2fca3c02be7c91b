"""Make a site's passwords and signing keys: python -m deploy.secrets FOLDER | python -m deploy.secrets --kubernetes.

With a folder: one file for each secret, as deploy/compose wants them, and site.env; what is there already stays. With
--kubernetes: the manifests that deploy/helm refers to, for `kubectl apply -f -`; keep them, a second call makes other
keys. Each process gets only the keys of those it may speak as.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.table import GATEWAY, ISSUERS, WORKER_ISSUERS
from services.chassis.settings import SERVICES
from services.chassis.tokens import generate_key

# Whom each process may speak as.
SIGNERS: Mapping[str, Sequence[str]] = {
    **{name: (name,) for name in (*SERVICES, GATEWAY)},
    "worker": WORKER_ISSUERS,
}


def keys() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return new keys: the private ones by process and issuer, and everybody's public ones."""
    pairs = {issuer: generate_key() for issuer in ISSUERS}
    private = {process: {name: pairs[name][0] for name in names} for process, names in SIGNERS.items()}
    return private, {issuer: public for issuer, (_, public) in pairs.items()}


def write(folder: Path) -> None:
    """Fill a folder that only its owner can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    def keep(name: str, text: str) -> str:
        file = folder / name
        if not file.exists():
            file.write_text(text)
        # The containers' users read it through their mounts; the folder keeps everybody else out.
        file.chmod(0o444)
        return file.read_text()

    def password(name: str) -> str:
        return keep(name, secrets.token_urlsafe(24))

    services, amqp, temporal = password("postgresql-services"), password("amqp"), password("temporal")
    password("postgresql-admin")
    keep("database-url", f"postgresql://gonghai_services:{services}@postgresql:5432/gonghai")
    keep("amqp-url", f"amqp://gonghai:{amqp}@rabbitmq:5672/")
    keep("ami-secret", "")
    # All or none: half of them would be of another making.
    if not (folder / "trusted-keys.json").exists():
        private, public = keys()
        for process, of_process in private.items():
            (folder / f"key-{process}.json").unlink(missing_ok=True)
            keep(f"key-{process}.json", json.dumps(of_process))
        keep("trusted-keys.json", json.dumps(public))
    keep("site.env", f"SECRETS={folder.resolve()}\nAMQP_PASSWORD={amqp}\nTEMPORAL_PASSWORD={temporal}\n")


def manifests() -> dict[str, Any]:
    """Return the keys as Kubernetes has them."""
    private, public = keys()

    def item(kind: str, name: str, field: str, data: Mapping[str, str]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: dict(data)}

    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            item("ConfigMap", "gonghai-trusted-keys", "data", {"trusted-keys.json": json.dumps(public)}),
            *(
                item("Secret", f"gonghai-key-{name}", "stringData", {"signing-keys.json": json.dumps(mine)})
                for name, mine in private.items()
            ),
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.secrets")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("folder", nargs="?", type=Path)
    asked.add_argument("--kubernetes", action="store_true")
    given = parser.parse_args(argv)
    if given.kubernetes:
        json.dump(manifests(), sys.stdout, indent=1)
    else:
        write(given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
