"""An S3-compatible store that others wrote (SeaweedFS, whose program is in a wheel), private and on loopback."""

import json
import signal
import sys
from pathlib import Path

from deploy.local.process import BARE_ENVIRONMENT, Program
from deploy.local.state import Group, write_private

BUCKET = "recordings"
# Its ports by the flags that set them.
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)
S3_PORTS = ("s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance")


class ObjectStore(Group):
    """Run it as a context manager; `environment` is what its clients need, `url` names a folder in its bucket."""

    url = f"s3://{BUCKET}/calls"

    def __init__(self) -> None:
        # A short path: it holds sockets.
        super().__init__(None)
        ports = {name: self.state.ports.take(name) for name in (*PORTS, *S3_PORTS)}
        key, secret = "gonghai", self.state.secret("s3")
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        home = self.state.folder("objects")
        who = {"accessKey": key, "secretKey": secret}
        config = {"identities": [{"name": key, "credentials": [who], "actions": ["Admin", "Read", "Write"]}]}
        self.add(
            Program(
                name="objects",
                argv=[
                    *(str(Path(sys.executable).parent / "weed"), "server", "-ip=127.0.0.1", f"-dir={home}"),
                    *(
                        "-s3",
                        f"-s3.config={home / 's3.json'}",
                        "-volume.max=8",
                        "-master.volumeSizeLimitMB=64",
                    ),
                    *(f"-{part}.localSocket={home / part}.sock" for part in ("s3", "filer")),
                    *(f"-{name}={port}" for name, port in ports.items()),
                ],
                env=BARE_ENVIRONMENT | {"HOME": str(home)},
                health=f"tcp://127.0.0.1:{ports['s3.port']}",
                prepare=lambda: write_private(home / "s3.json", json.dumps(config)),
                cwd=home,
                ports=ports,
                # It would wait for who might still ask.
                stop_signal=signal.SIGKILL,
            )
        )
