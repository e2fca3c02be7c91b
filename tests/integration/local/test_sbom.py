"""What is shipped is listed, from the lock files that it is installed from."""

import json
import re
from pathlib import Path
from typing import Any

from deploy.local.bootstrap import ROOT, WEB
from deploy.sbom import write


def components(file: Path) -> dict[str, dict[str, Any]]:
    """Return a list's components by name."""
    listed = json.loads(file.read_text())
    assert listed["bomFormat"] == "CycloneDX"
    return {"/".join(filter(None, (item.get("group"), item["name"]))): item for item in listed["components"]}


def test_the_lists_name_every_package_with_version_and_hash(tmp_path: Path) -> None:
    python, web = (components(file) for file in write(tmp_path))
    locked = dict(
        re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==([^ \\]+)", (ROOT / "requirements.lock").read_text(), re.M)
    )
    assert {name: item["version"] for name, item in python.items()} == locked
    for item in python.values():
        assert item["purl"].startswith("pkg:pypi/")
        references = item.get("externalReferences", [])
        assert any(each.get("hashes") for each in references) or item.get("hashes")
    shipped = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert set(shipped) <= set(web)
    assert "eslint" not in web
    assert all(item["purl"].startswith("pkg:npm/") for item in web.values())
