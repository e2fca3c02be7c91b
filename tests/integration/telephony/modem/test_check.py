"""What an operator sees of a modem before trusting it."""

from pathlib import Path

import pytest

from services.telephony.modem import check
from tests.support.modem import emulator


def test_a_good_modem_is_found_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent for it."""
    with emulator(tmp_path) as modem:
        assert check.main(str(modem.link)) == 0
        assert modem.submitted() == []
    said = capsys.readouterr().out
    assert "型号 model: MODEM EMULATOR" in said
    assert "送达报告 delivery reports: 保存在模块中 kept in the modem" in said
    assert said.endswith("结论 verdict: 可以发送短信 ready to send\n")


def test_a_modem_without_a_network_is_found_not_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the answer shows why."""
    with emulator(tmp_path) as modem:
        modem.tell("set", registration=3)
        assert check.main(str(modem.link)) == 1
    assert "网络 registration: +CREG: 0,3" in capsys.readouterr().out


def test_a_port_with_nothing_on_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's own words say what is wrong."""
    assert check.main(str(tmp_path / "nothing")) == 1
    assert "No such file" in capsys.readouterr().out
