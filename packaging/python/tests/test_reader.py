"""Readers: who takes them, their end, and what a failure looks like."""

from __future__ import annotations

import gc
import json
import os
import threading
from pathlib import Path
from typing import List

import duckdb
import pandas
import polars
import pyarrow
import pytest
from conftest import TESTDATA, is_running, wait_until

import drawoff

COMPANIES = TESTDATA / "companies.ndjson"


def late(tmp_path: Path) -> Path:
    """A file whose last record changes a type, beyond the records from which types are inferred."""
    path = tmp_path / "late.ndjson"
    with path.open("w") as file:
        for number in range(200_000):
            file.write(json.dumps({"number": number, "pad": "p" * 30}) + "\n")
        file.write('{"number": 0.5, "late": true}\n')
    return path


TAKERS = {
    "read_all": lambda reader: reader.read_all().num_rows,
    "iteration": lambda reader: sum(batch.num_rows for batch in reader),
    "to_reader": lambda reader: reader.to_reader().read_all().num_rows,
    "pyarrow": lambda reader: pyarrow.table(reader).num_rows,
    "pyarrow stream": lambda reader: pyarrow.RecordBatchReader.from_stream(reader).read_all().num_rows,
    "polars": lambda reader: polars.DataFrame(reader).height,
    "to_polars": lambda reader: reader.to_polars().height,
    "to_pandas": lambda reader: len(reader.to_pandas()),
    "duckdb": lambda reader: duckdb.sql("SELECT count(*) FROM reader").fetchall()[0][0],
}


if hasattr(pandas.DataFrame, "from_arrow"):
    TAKERS["pandas"] = lambda reader: len(pandas.DataFrame.from_arrow(reader))


@pytest.mark.parametrize("taker", TAKERS)
def test_every_library_takes_all_rows(taker: str) -> None:
    reader = drawoff.convert(COMPANIES)
    assert TAKERS[taker](reader) == 300
    assert reader.report.rows_written == reader.rows_read == 300
    assert reader.error is None


@pytest.mark.parametrize("taker", TAKERS)
def test_no_library_takes_a_truncated_result_for_a_whole_one(taker: str, tmp_path: Path) -> None:
    reader = drawoff.convert(late(tmp_path), schema_from="sample")
    # Of any kind: polars 1 panics.
    with pytest.raises(BaseException, match="field `number`: expected int"):
        TAKERS[taker](reader)
    assert isinstance(reader.error, drawoff.SchemaChangedError)
    assert reader.error.exit_code == 6
    assert "--schema-from full" in (reader.error.hint or "")
    with pytest.raises(drawoff.SchemaChangedError):
        reader.report


def test_types_that_widen_late_are_right_from_the_first_row(tmp_path: Path) -> None:
    path = late(tmp_path)
    table = drawoff.convert(path).read_all()
    assert table.schema.names == ["number", "pad", "late"]
    assert table.schema.field("number").type == pyarrow.float64()
    with path.open("rb") as pipe:
        whole = drawoff.convert(pipe, whole=True)
        assert whole.read_all().equals(table)
        assert whole.report.rows_written == 200_001


def test_a_file_that_is_cut_off_is_an_error_of_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "cut.ndjson.gz"
    import gzip

    path.write_bytes(gzip.compress(COMPANIES.read_bytes())[:-2000])
    with pytest.raises(drawoff.DamagedError):
        drawoff.convert(path).read_all()


def test_rows_are_taken_once() -> None:
    reader = drawoff.convert(COMPANIES)
    assert polars.DataFrame(reader).height == 300
    with pytest.raises(ValueError, match="already handed"):
        pyarrow.table(reader)
    with pytest.raises(ValueError, match="already handed"):
        next(reader)


def test_a_reader_that_is_read_to_its_end_stays_at_its_end() -> None:
    reader = drawoff.convert(COMPANIES)
    assert reader.read_all().num_rows == 300
    assert list(reader) == []
    with pytest.raises(StopIteration):
        reader.read_next_batch()


def test_the_report_is_there_after_the_last_row(endless) -> None:
    with drawoff.convert(endless) as reader:
        next(reader)
        with pytest.raises(drawoff.Error, match="not read to their end"):
            reader.report


def test_closing_ends_the_command(endless) -> None:
    reader = drawoff.convert(endless)
    next(reader)
    pid = reader._process.pid
    assert is_running(pid)
    reader.close()
    assert not is_running(pid)
    with pytest.raises(ValueError, match="closed|handed"):
        pyarrow.table(reader)
    reader.close()


def test_collecting_ends_the_command(endless) -> None:
    reader = drawoff.convert(endless)
    next(reader)
    pid = reader._process.pid
    del reader
    gc.collect()
    assert not is_running(pid)


def test_a_stream_of_another_library_outlives_its_reader_and_ends_the_command(endless) -> None:
    reader = drawoff.convert(endless)
    pid = reader._process.pid
    stream = pyarrow.RecordBatchReader.from_stream(reader)
    del reader
    gc.collect()
    assert stream.read_next_batch().num_rows > 0
    assert is_running(pid)
    del stream
    gc.collect()
    assert not is_running(pid)


def test_a_query_that_stops_early_ends_the_command(endless) -> None:
    reader = drawoff.convert(endless)
    pid = reader._process.pid
    assert duckdb.sql("SELECT number FROM reader LIMIT 3").fetchall() == [(1,)] * 3
    reader.close()
    wait_until(lambda: not is_running(pid))


def test_memory_does_not_grow_with_the_rows(endless) -> None:
    def rss(pid: object) -> int:
        line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) << 10

    with drawoff.convert(endless) as reader:
        size = 0
        while size < 50 << 20:
            size += next(reader).nbytes
        here, there = rss("self"), rss(reader._process.pid)
        while size < 400 << 20:
            size += next(reader).nbytes
        assert rss("self") - here < 100 << 20
        assert rss(reader._process.pid) - there < 100 << 20


def test_rows_arrive_while_the_source_pauses() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb", buffering=0) as feed:
        feed.write(b'{"a": 1}\n' * 10)
        reader = drawoff.convert(source, schema_from="sample")
        assert next(reader).num_rows == 10
        feed.write(b'{"a": 2}\n')
        assert next(reader).to_pylist() == [{"a": 2}]
        feed.close()
        assert list(reader) == []
    assert reader.report.rows_written == 11


def test_an_empty_source_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("a,b\n")
    reader = drawoff.convert(path)
    assert reader.schema.names == ["a", "b"]
    assert reader.read_all().num_rows == 0


def test_rejected_records_are_a_warning(ndjson) -> None:
    path = ndjson([{"a": 1}])
    path.write_text(path.read_text() + "no json\n")
    with pytest.raises(drawoff.BadDataError) as caught:
        drawoff.convert(path).read_all()
    assert "line 2" in caught.value.message
    reader = drawoff.convert(path, on_bad_record="skip")
    with pytest.warns(drawoff.PartialWarning, match="1 records were rejected"):
        assert reader.read_all().num_rows == 1
    assert reader.report.partial and reader.report.rows_rejected == 1


def test_bytes_and_file_objects_are_sources() -> None:
    import io

    data = b'{"a": 1}\n{"a": 2}\n'
    assert drawoff.convert(data).read_all().to_pylist() == [{"a": 1}, {"a": 2}]
    assert drawoff.convert(io.BytesIO(data)).read_all().num_rows == 2
    assert drawoff.convert(io.StringIO("a\n1\n"), from_="csv").read_all().to_pylist() == [{"a": 1}]


def test_standard_input_is_a_source() -> None:
    import subprocess
    import sys

    source = str(Path(drawoff.__file__).parent.parent)
    script = "import drawoff; print(drawoff.convert('-').read_all().to_pylist())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input='{"a": 1}\n',
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])},
    )
    assert done.stdout == "[{'a': 1}]\n", done.stderr


def test_steps_run_in_their_order() -> None:
    first = drawoff.convert(COMPANIES, limit=10, where="employee_count>=1000").read_all()
    then = drawoff.convert(COMPANIES, where="employee_count>=1000", limit=10).read_all()
    assert then.num_rows == 10 > first.num_rows
    table = drawoff.convert(
        COMPANIES,
        with_={"big": "employee_count>=1000"},
        select=["company_name", "hq.city", "big"],
        rename={"company_name": "name"},
    ).read_all()
    assert table.schema.names == ["name", "hq.city", "big"]


def test_names_with_dashes_quotes_and_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-o.ndjson").write_text(json.dumps({'a "b", c': 1, "-x": 2}) + "\n")
    table = drawoff.convert("-o.ndjson", select=[drawoff.quote('a "b", c'), drawoff.quote("-x")]).read_all()
    assert table.to_pylist() == [{'a "b", c': 1, "-x": 2}]


def test_output_writes_files_and_returns_the_report(tmp_path: Path) -> None:
    report = drawoff.convert(COMPANIES, output=[tmp_path / "a.parquet", tmp_path / "a.csv"], limit=5)
    assert isinstance(report, drawoff.Report)
    assert report.rows_written == report["rows_written"] == 5
    assert polars.read_parquet(tmp_path / "a.parquet").height == 5
    assert (tmp_path / "a.csv").read_text().count("\n") == 6
    with pytest.raises(AttributeError, match="no `rows`"):
        report.rows
    with pytest.raises(TypeError, match="`codec` needs `output`"):
        drawoff.convert(COMPANIES, codec="snappy")
    with pytest.raises(TypeError, match="leave `output` out"):
        drawoff.convert(COMPANIES, output="-")


def test_progress_counts_rows() -> None:
    states = []
    drawoff.convert(COMPANIES, progress=states.append).read_all()
    assert states[-1].phase == "rows" and states[-1].rows == 300 and states[-1].bytes > 0


def test_progress_of_files_shows_messages(drawoff_service, tmp_path: Path) -> None:
    states = []
    drawoff.run(
        TESTDATA / "workflows/webhook-leads.json",
        payload=json.loads((TESTDATA / "leads.json").read_text()),
        output=tmp_path / "leads.parquet",
        progress=states.append,
    )
    assert any("started" in state.text for state in states)
    assert (states[-1].phase, states[-1].rows) == ("rows", 3)


def test_a_bar_or_a_line_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    drawoff.convert(COMPANIES, progress=True).read_all()
    assert "300 rows" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    drawoff.convert(COMPANIES, progress=True).read_all()
    assert "drawoff: 300 rows" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet", "json"])
def test_the_schema_of_a_file_is_that_of_its_rows(form: str, tmp_path: Path) -> None:
    source = tmp_path / f"rows.{form}"
    drawoff.convert(TESTDATA / "companies.ndjson", output=source)
    for options in ({}, {"schema_from": "sample"}, {"limit": 2}, {"where": "record_id > 3", "drop": ["notes"]}):
        schema = drawoff.schema(source, **options)
        assert schema == drawoff.convert(source, **options).read_all().schema and len(schema) > 5
    assert str(drawoff.schema(source).field("record_id").type) == "int64"
    assert drawoff.schema(source, sql="SELECT 1.5 AS x FROM results").names == ["x"]
    assert [str(kind) for kind in drawoff.schema(b'{"a": 1, "b": "x"}\n').types] == ["int64", "string"]
    # As its rows: a type that widens late is right.
    late = tmp_path / "late.ndjson"
    late.write_text('{"a": 1}\n' * 100_000 + '{"a": 1.5, "b": 1}\n')
    assert drawoff.schema(late).names == ["a", "b"] and str(drawoff.schema(late).field("a").type) == "double"


def test_several_threads_take_batches_of_one_reader(tmp_path: Path) -> None:
    reader = drawoff.convert(late(tmp_path), where="number >= 1")
    counts: List[int] = []

    def take() -> None:
        counts.append(sum(batch.num_rows for batch in reader))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 4 and sum(counts) == 199_999


def test_a_table_that_json_cannot_hold_is_an_error_of_the_table() -> None:
    definition = TESTDATA / "workflows/qualify-companies.json"
    frame = polars.DataFrame({"domain": ["a"], "x": [float("nan")]})
    with pytest.raises(drawoff.BadDataError, match="cannot send the table: .*column `x`") as caught:
        drawoff.run(definition, input=frame, local=True)
    assert "--" not in (caught.value.hint or "")
