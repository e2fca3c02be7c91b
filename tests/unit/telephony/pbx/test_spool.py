"""The PBX's log of channel events as a file that grows, is rotated, and may hold anything."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.telephony.pbx.callgraph import Graph
from services.telephony.pbx.spool import read_since, replay, whole_calls
from tests.unit.telephony.pbx.test_scenarios import LEAN, logged
from tests.unit.telephony.pbx.transcripts import TRUNKS


def row(time_s: float, name: str = "ANSWER", uniqueid: str = "1.0", linked_id: str = "1.0") -> str:
    columns = [f"{time_s:.6f}", name, uniqueid, linked_id, "PJSIP/1001-00000001", *[""] * 7]
    return ",".join(f'"{column}"' for column in columns) + "\n"


def times(path: Path, since_s: float) -> list[float]:
    return [line.time_s for line in read_since(path, since_s).lines]


def test_a_file_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    assert times(tmp_path / "gonghai.csv", 0) == []


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 51))
@settings(max_examples=60, deadline=None)
def test_it_is_read_from_a_time_on(
    tmp_path_factory: pytest.TempPathFactory, written: list[int], since_s: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "gonghai.csv"
    path.write_text("".join(row(time_s) for time_s in sorted(written)))
    assert times(path, since_s) == sorted(time_s for time_s in written if time_s >= since_s)


def test_rotated_files_are_read_as_far_back_as_it_takes(tmp_path: Path) -> None:
    (tmp_path / "gonghai.csv").write_text(row(30))
    (tmp_path / "gonghai.csv.1").write_text(row(20) + row(25))
    (tmp_path / "gonghai.csv.2").write_text(row(10))
    assert times(tmp_path / "gonghai.csv", 22) == [25, 30]
    assert times(tmp_path / "gonghai.csv", 0) == [10, 20, 25, 30]


def test_just_after_the_rotation_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "gonghai.csv.1").write_text(row(20))
    assert times(tmp_path / "gonghai.csv", 0) == [20]


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "gonghai.csv"
    path.write_text(row(10) + row(11)[:-5])
    assert times(path, 0) == [10]


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "gonghai.csv"
    path.write_bytes(
        row(10).encode() + b"\xff\xfe,,\n" + b'"soon"' + row(11).encode()[18:] + row(12).encode()
    )
    found = read_since(path, 0)
    assert [line.time_s for line in found.lines] == [10, 12]
    assert found.unreadable == 2


def test_names_with_commas_and_chinese_are_whole() -> None:
    queue = next(line for line in logged("queue") if line.name == "APP_START")
    assert queue.application_data == "sales,tc,,,60"


def test_only_calls_told_from_begin_to_end_are_whole() -> None:
    lines = logged("queue")
    assert whole_calls(Graph(TRUNKS), lines) == list(lines)
    assert whole_calls(Graph(TRUNKS), lines[1:]) == []
    assert whole_calls(Graph(TRUNKS), lines[:-1]) == []
    alive, _ = replay(Graph(TRUNKS), lines[:-1])
    assert whole_calls(alive, lines) == []


@given(st.integers(0, 20), st.sampled_from(sorted(path.stem for path in LEAN.glob("*.csv"))))
@settings(max_examples=60, deadline=None)
def test_the_rest_of_a_call_that_nobody_followed_makes_no_ghost(skipped: int, name: str) -> None:
    lines = [line for line in logged(name) if not line.linked_id.startswith("consult")]
    graph, _ = replay(Graph(TRUNKS), lines[max(1, skipped) :])
    assert not graph.calls
