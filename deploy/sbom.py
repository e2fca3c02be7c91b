"""List what is shipped, as CycloneDX: python -m deploy.sbom FOLDER writes python.json and web.json.

Both come from the lock files, so they name what the image holds, with version and hash, whatever is installed here. The
web's list leaves out what only builds it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.local.bootstrap import WEB, node_directory
from deploy.local.errors import LocalError
from deploy.local.table import ROOT


def write(folder: Path) -> list[Path]:
    """Write both lists into a folder and return them; raises LocalError with what the tool said."""
    folder.mkdir(parents=True, exist_ok=True)
    python, web = folder / "python.json", folder / "web.json"
    tool = Path(sys.executable).parent / "cyclonedx-py"
    _run(
        [
            *(str(tool), "requirements", "--pyproject", "pyproject.toml", "--output-reproducible"),
            *("--output-file", str(python), "requirements.lock"),
        ],
        ROOT,
    )
    listed = json.loads(_run(["npm", "sbom", "--sbom-format=cyclonedx", "--package-lock-only"], WEB))
    web.write_text(json.dumps(_shipped(listed), indent=1))
    return [python, web]


def _shipped(listed: dict[str, Any]) -> dict[str, Any]:
    """Leave out of the web's list what the lock marks as needed for building only.

    npm's own --omit=dev leaves out whatever something of that kind needs too: of all things, vue.
    """
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    building = {
        f"{path.rpartition('node_modules/')[2]}@{entry['version']}"
        for path, entry in locked.items()
        if entry.get("dev")
    }
    kept = [item for item in listed["components"] if item["bom-ref"] not in building]
    references = {item["bom-ref"] for item in kept} | {listed["metadata"]["component"]["bom-ref"]}
    depend = [
        {**item, "dependsOn": [each for each in item.get("dependsOn", []) if each in references]}
        for item in listed["dependencies"]
        if item["ref"] in references
    ]
    return {**listed, "components": kept, "dependencies": depend}


def _run(command: Sequence[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{node_directory()}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def main(argv: Sequence[str]) -> int:
    """Write the lists; return the exit status."""
    if len(argv) != 1:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        for file in write(Path(argv[0]).resolve()):
            print(file)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
