"""Each threat of the model names the tests that try it, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROWS = re.findall(
    r"^\| (?!threat|---)(.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs/threat-model.md").read_text(), re.M
)


def test_every_threat_names_tests_that_are_there() -> None:
    written = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", file.read_text(), re.M)
    }
    assert len(ROWS) > 20
    for threat, _, tests in ROWS:
        named = set(re.findall(r"`(test_\w+)`", tests))
        assert named, threat
        assert named - written == set(), threat
