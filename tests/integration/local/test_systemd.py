"""The unit of a one-machine site: systemd understands it, and finds little that it could do beyond its work."""

import re
import subprocess
from pathlib import Path

import pytest

UNIT = (Path(__file__).resolve().parents[3] / "deploy/systemd/gonghai.service").read_text()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a user and a program that are on every machine: systemd looks for them."""
    text = re.sub(r"^(User|Group)=gonghai$", r"\1=root", UNIT, flags=re.MULTILINE)
    text = text.replace("/opt/gonghai/.venv/bin/python", "/bin/true").replace("=/opt/gonghai\n", "=/tmp\n")
    file = tmp_path / "gonghai.service"
    file.write_text(text)
    return file


def test_systemd_understands_the_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "WantedBy=multi-user.target" in UNIT


def test_the_unit_may_do_little_beyond_its_work(unit: Path) -> None:
    """As systemd itself rates it: 10 is a service with nothing set, 4 what a data base and serial ports leave."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=45", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]
