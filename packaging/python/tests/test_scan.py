"""Scans: the same rows as polars alone, and less to read."""

from __future__ import annotations

import datetime
import functools
import gc
import operator
import os
import random
import tempfile
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, List

import polars
import pytest
from conftest import TESTDATA
from polars import col

import drawoff
from drawoff import _scan
from drawoff._predicate import translate

COMPANIES = TESTDATA / "companies.ndjson"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> List[List[str]]:
    """The steps of every scan that reads rows."""
    seen: List[List[str]] = []
    real = _scan._Plan._open

    def noted(self: Any, given: Any, options: Any) -> Any:
        seen.append(list(given))
        return real(self, given, options)

    monkeypatch.setattr(_scan._Plan, "_open", noted)
    return seen


def records() -> List[Dict[str, Any]]:
    """Records with values at the edges of their types, mixed and absent ones, and names that need quotes."""
    draw = random.Random(25)
    floats = [0.0, -0.0, 0.1, 0.30000000000000004, 1.5, -2.25, 1e300, 5e-324, 1e16, 9007199254740993.0]
    ints = [0, 1, -1, 5, 2**53 + 1, 2**53 + 2, 2**63 - 1, -(2**63)]
    texts = ["", "a", "A", "ab", "b'c", 'd"e', "é", "zz", "12", "null", "true", "%", "line\nbreak"]
    found = []
    for number in range(400):
        record: Dict[str, Any] = {
            "i": draw.choice([*ints, None]),
            "f": draw.choice([*floats, draw.random(), None]),
            "s": draw.choice([*texts, None]),
            "b": draw.choice([True, False, None]),
            "mixed": draw.choice([1, "1", 1.5, True, None, [1], {"a": 1}]),
            'odd "name", really': number,
            "hq": draw.choice([None, {"city": draw.choice(texts), "n": number}]),
            "hq.city": draw.choice(texts),
            "none": None,
            "tags": draw.choice([None, [], ["x", None]]),
        }
        if draw.random() < 0.3:
            del record[draw.choice(list(record))]
        found.append(record)
    return found


def predicates() -> List[polars.Expr]:
    leaves: List[polars.Expr] = [
        col("i") > 0,
        col("i") <= 2**53 + 1,
        col("i") == 5,
        col("i") != 5,
        1 > col("i"),
        col("i") == 9007199254740993.0,
        col("i") >= 0.5,
        col("i").is_in([1, 5, 2**63 - 1]),
        col("i").is_in([1, None]),
        col("i") == -(2**63),
        col("f") > 0.1,
        col("f") >= 0.1,
        col("f") == 0.30000000000000004,
        col("f") != 0.1,
        col("f") < 0,
        col("f") <= 0.0,
        col("f") == 1,
        col("f") >= 1e300,
        col("f") > 5e-324,
        col("f").is_between(0.1, 1.5),
        col("f") == float("inf"),
        col("f") < float("nan"),
        col("f").is_in([0.1]),
        col("s") == "a",
        col("s") != "b'c",
        col("s") > "a",
        col("s") == "",
        col("s") == "12",
        col("s").is_in(["é", 'd"e']),
        col("s").str.starts_with("a"),
        col("s").str.ends_with("c"),
        col("s").str.contains("%", literal=True),
        col("s").str.contains("^a"),
        col("s").is_null(),
        col("s") == "line\nbreak",
        col("s").str.len_chars() == 1,
        col("b"),
        col("b") == True,
        col("b") != True,
        col("b").is_not_null(),  # noqa: E712
        col("mixed") == "1",
        col("mixed") == '"1"',
        col("mixed").is_null(),
        col("mixed") != "1",
        col('odd "name", really') < 100,
        col("hq.city") == "a",
        col("hq").struct.field("city") == "a",
        col("hq").is_null(),
        col("none").is_null(),
        col("tags").is_null(),
        col("tags").list.len() > 0,
        col("i") > col("f"),
        col("i").cast(polars.String) == "5",
        polars.lit(True),
        col("i") + 1 > 3,
    ]
    draw = random.Random(26)
    found = list(leaves) + [~leaf for leaf in leaves]
    for _ in range(60):
        first, second, third = (draw.choice(leaves) for _ in range(3))
        found.append(draw.choice([first & second, first | second, ~(first & second), ~(first | ~second) & third]))
    return found


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_filters_keep_the_rows_that_polars_keeps(form: str, ndjson: Callable[..., Path], tmp_path: Path) -> None:
    source = ndjson(records())
    if form != "ndjson":
        drawoff.convert(source, output=tmp_path / f"records.{form}")
        source = tmp_path / f"records.{form}"
    scan = drawoff.scan(source)
    rows = scan.collect()
    assert rows.height == 400
    pushed = 0
    plan_kinds = _scan._Plan([str(source)], False, {})._kinds
    for predicate in predicates():
        try:
            expected = rows.filter(predicate)
        except polars.exceptions.PolarsError:
            # CSV has no nested columns.
            assert form == "csv"
            continue
        where = translate(predicate, plan_kinds)
        pushed += where is not None
        # What drawoff keeps is enough, and what polars makes of it is exact.
        assert scan.filter(predicate).collect().equals(expected), (str(predicate), where)
    assert pushed > 60


def test_only_what_is_needed_is_read(steps: List[List[str]], ndjson: Callable[..., Path]) -> None:
    scan = drawoff.scan(ndjson(records()))
    assert steps == [["--limit=0"]]
    scan.filter((col("i") > 3) & (col("s").str.len_chars() > 1)).select("f").collect()
    assert steps[-1] == ['--where="i" > 3', '--select="i","f","s"']
    scan.head(7).collect()
    assert steps[-1] == ["--limit=7"]
    assert scan.filter(col("i") > 3).head(7).collect().height == 7
    assert steps[-1] == ['--where="i" > 3']
    assert scan.head(7).filter(col("i") > 3).collect().equals(scan.collect().head(7).filter(col("i") > 3))
    assert scan.select(polars.len()).collect().item() == 400
    assert len(steps[-1]) == 1 and "," not in steps[-1][0]


def test_a_condition_with_a_part_that_has_no_translation() -> None:
    kinds = {"i": "int", "s": "text"}
    unknown = col("s").str.len_chars() == 1
    assert translate((col("i") > 1) & unknown, kinds) == '"i" > 1'
    assert translate((col("i") > 1) | unknown, kinds) is None
    assert translate(~((col("i") > 1) | unknown), kinds) == '"i" <= 1'
    assert translate(~((col("i") > 1) & unknown), kinds) is None
    assert translate(col("other") == 1, kinds) is None
    assert translate(col("i").map_elements(abs, return_dtype=polars.Int64) > 1, kinds) is None


def test_a_filter_does_not_change_types(ndjson: Callable[..., Path]) -> None:
    scan = drawoff.scan(
        ndjson([{"id": 1, "v": "x"}, {"id": 2, "v": 1}, {"id": 3, "v": "1"}, {"id": 4, "w": 0.5}, {"id": 5, "w": 1}])
    )
    # Alone, this record has a column of text in which the text stands without quotes.
    assert scan.filter(col("id") == 1).collect()["v"].to_list() == ['"x"']
    assert scan.filter(col("id") == 5).collect()["w"].dtype == polars.Float64


def test_a_run_is_scanned(run_id: str, steps: List[List[str]]) -> None:
    scan = drawoff.scan(run_id)
    rows = scan.collect()
    assert rows.height == 1302
    found = scan.filter((col("employee_count") >= 1000) & (col("country") == "NO")).select("domain", "hq").collect()
    assert found.equals(rows.filter((col("employee_count") >= 1000) & (col("country") == "NO")).select("domain", "hq"))
    # polars chooses the order of the conditions.
    assert sorted(steps[-1][0].split("=", 1)[1].strip("()").split(" and ")) == [
        "\"country\" = 'NO'",
        '"employee_count" >= 1000',
    ]
    assert drawoff.scan("last").collect_schema() == scan.collect_schema()
    assert drawoff.scan(run_id[:8]).collect().height == 1302
    with pytest.raises(drawoff.NotFoundError, match="no run `abcdef01`"):
        drawoff.scan("abcdef01" if not run_id.startswith("abcdef01") else "abcdef02")
    # Of another block the types are not known to be held, so that polars filters alone.
    block = drawoff.scan(run_id, block=1)
    found = block.filter(col("employee_count") >= 1000).select("domain").collect()
    assert steps[-1] == ['--select="domain","employee_count"'] and found.height > 0


def test_a_whole_scan_sends_no_further_request() -> None:
    with drawoff.serve() as service:
        drawoff.run(
            TESTDATA / "workflows/qualify-companies.json",
            input=TESTDATA / "companies.csv",
            output="/dev/null",
            to="ndjson",
            **service.options,
        )
        scan = drawoff.scan("last", whole=True, **service.options)
    assert scan.filter(col("country") == "NO").collect().height > 0
    assert scan.collect().height == 1302


def test_steps_come_before_those_of_the_query(steps: List[List[str]]) -> None:
    scan = drawoff.scan(COMPANIES, with_={"size": "if(employee_count>=1000, 'large', 'small')"}, drop=["notes"])
    assert "notes" not in scan.collect_schema()
    found = scan.filter((col("size") == "large") & (col("record_id") > 5)).select("size", "record_id").collect()
    # The text is not compared by drawoff: it may be that of values of several types.
    assert steps[-1][0] == '--where="record_id" > 5'
    expected = drawoff.convert(COMPANIES, where="employee_count>=1000 and record_id>5").read_all().num_rows
    assert found.height == expected > 0
    counted = drawoff.scan(
        COMPANIES, sql="SELECT country, count(*) AS n FROM results GROUP BY country ORDER BY n DESC, country"
    )
    assert counted.head(2).collect().height == 2
    assert counted.filter(col("n") > 20).select("country").collect().height == counted.collect().filter(col("n") > 20).height


def test_dates_and_decimals_of_parquet(ndjson: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "typed.parquet"
    drawoff.convert(
        ndjson([{"d": f"2024-01-{n:02}", "x": "1.25", "n": n} for n in range(1, 20)]),
        output=path,
        cast={"d": "date", "x": "decimal(9,2)"},
    )
    scan = drawoff.scan(path)
    assert dict(scan.collect_schema()) == {"d": polars.Date, "x": polars.Decimal(9, 2), "n": polars.Int64}
    found = scan.filter((col("d") > datetime.date(2024, 1, 10)) & (col("n") < 15)).collect()
    assert found["n"].to_list() == [11, 12, 13, 14]


def test_failures_have_our_text(tmp_path: Path, ndjson: Callable[..., Path]) -> None:
    with pytest.raises(drawoff.CannotReadError):
        drawoff.scan(tmp_path / "nothing.ndjson")
    with pytest.raises(TypeError, match="no option `workflow`"):
        drawoff.scan(COMPANIES, workflow="x")
    path = ndjson(records())
    scan = drawoff.scan(path)
    path.write_text(path.read_text().replace('"odd', '"even'))
    with path.open("a") as file:
        file.write('{"i": "no number"}\n')
    with pytest.raises((drawoff.BadDataError, polars.exceptions.PolarsError), match="field `i`: expected int"):
        scan.select("i").collect()


def test_an_early_end_of_the_query_ends_the_command(ndjson: Callable[..., Path]) -> None:
    path = ndjson([{"n": n} for n in range(200_000)])
    assert drawoff.scan(path).filter(col("n") % 2 == 1).head(1).collect().item() == 1
    assert drawoff.scan(path).collect(engine="streaming").height == 200_000


def test_arguments_come_before_the_steps_of_the_query(ndjson: Callable[..., Path]) -> None:
    path = ndjson([{"n": n, "s": str(n)} for n in range(20)])
    limited = drawoff.scan(path, args=["--limit", "10"])
    assert limited.filter(col("n") >= 5).collect()["n"].to_list() == [5, 6, 7, 8, 9]
    filtered = drawoff.scan(path, args=["--where", "n>=5"])
    assert filtered.head(5).collect()["n"].to_list() == [5, 6, 7, 8, 9]
    assert filtered.select("s").filter(col("s") == "7").collect()["s"].to_list() == ["7"]
    queried = drawoff.scan(path, args=["--sql", "SELECT n + 1 AS m FROM results ORDER BY n DESC LIMIT 3"])
    assert queried.filter(col("m") < 20).head(1).collect()["m"].to_list() == [19]
    renamed = drawoff.scan(path, limit=10, args=["--rename", "n=m"])
    assert renamed.filter(col("m") >= 5).select("m").collect()["m"].to_list() == [5, 6, 7, 8, 9]
    # A format that only the arguments name.
    table = path.with_suffix(".txt")
    table.write_text("n;s\n1;a\n2;b\n")
    semicolons = drawoff.scan(table, args=["--from", "csv", "--in-delimiter", ";"])
    assert semicolons.filter(col("n") > 1).collect().rows() == [(2, "b")]


@pytest.mark.parametrize("options", [{"run_column": "run"}, {"format": "ndjson"}, {"format": "csv"}, {"block": 1}])
def test_results_that_cannot_be_described_are_scanned(options: Dict[str, Any], run_id: str) -> None:
    expected = drawoff.pull(run_id, **options).to_polars()
    scan = drawoff.scan(run_id, **options)
    assert scan.collect_schema() == expected.schema
    assert scan.collect().equals(expected)
    assert scan.head(3).collect().equals(expected.head(3))
    large = scan.filter(col("employee_count") >= 1000).select("domain").collect()
    assert large.equals(expected.filter(col("employee_count") >= 1000).select("domain"))


def test_conditions_and_columns_that_no_argument_holds_are_left_to_polars(
    steps: List[List[str]], ndjson: Callable[..., Path]
) -> None:
    long = "x" * 200_000
    scan = drawoff.scan(ndjson([{"n": n, "s": str(n), "nul\0name": n} for n in range(150)]))
    rows = scan.collect()
    alternating = col("n") == 0
    for number in range(1, 150):
        alternating = (alternating | (col("n") == number)) if number % 2 else (alternating & (col("n") < 1000))
    predicates = [
        functools.reduce(operator.or_, [col("n") == number for number in range(120)]),
        functools.reduce(operator.and_, [col("n") != number for number in range(120)]),
        functools.reduce(lambda found, _: ~found, range(301), col("n") > 5),
        alternating,
        col("s") != long,
        col("s").is_in([str(number) + "y" * 2_000 for number in range(90)] + ["7"]),
        col("s") == "7\0",
        col("nul\0name") > 140,
    ]
    for predicate in predicates:
        assert scan.filter(predicate).collect().equals(rows.filter(predicate))
    # A chain is one level, and is read by drawoff.
    scan.filter(predicates[0]).select("s").collect()
    assert steps[-1][0].startswith('--where=("n" = 0 or "n" = 1 or ') and steps[-1][1] in (
        '--select="n","s"',
        '--select="s","n"',
    )
    scan.filter(predicates[4] & (col("n") > 3)).select("n").collect()
    assert len(steps[-1]) == 1 and "--select" in steps[-1][0]
    assert scan.select("nul\0name").collect().height == 150


def test_more_columns_than_an_argument_holds(tmp_path: Path) -> None:
    names = [f"a column with quite a long name {number}" for number in range(4000)]
    path = tmp_path / "wide.parquet"
    polars.DataFrame({name: [1] for name in [*names, "one"]}).write_parquet(path)
    assert drawoff.scan(path).drop("one").collect().columns == names


def test_a_column_with_the_empty_name(ndjson: Callable[..., Path]) -> None:
    path = ndjson([{"": 1, "column_0": 2, "column_1": 3}])
    assert drawoff.convert(path).to_polars().rows(named=True) == [{"": 1, "column_0": 2, "column_1": 3}]
    scan = drawoff.scan(path)
    assert scan.select("", "column_1").filter(col("") == 1).collect().rows() == [(1, 3)]


@pytest.mark.parametrize("whole", [False, True])
def test_a_forked_process_leaves_the_files_of_a_scan(whole: bool, ndjson: Callable[..., Path]) -> None:
    scan = drawoff.scan(ndjson([{"n": 1}]), whole=whole)
    reader = drawoff.convert(b'{"n": 1}\n', whole=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # As at the end of a process, and as for the last reference.
            del scan, reader
            gc.collect()
            for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
                finalizer()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert scan.collect().rows() == [(1,)]
    assert reader.read_all().num_rows == 1


def test_a_failed_scan_leaves_no_directory(ndjson: Callable[..., Path], tmp_path: Path, monkeypatch: Any) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = ndjson([{"n": 1}])
    for _ in range(3):
        scan = drawoff.scan(path)
        with path.open("a") as file:
            file.write('{"n": "text"}\n')
        with pytest.raises((drawoff.BadDataError, polars.exceptions.PolarsError)):
            scan.collect()
        del scan
        path.write_text('{"n": 1}\n')
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_columns_that_are_not_read_may_have_any_values(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    polars.DataFrame({"n": [1, 2, 3], "f": [0.5, float("nan"), None], "b": [b"x", None, b"y"]}).write_parquet(path)
    assert drawoff.scan(path, drop=["b", "f"]).collect().rows() == [(1,), (2,), (3,)]
    without = drawoff.scan(path, drop=["b"])
    assert without.select("n").filter(col("n") > 1).collect().rows() == [(2,), (3,)]
    assert drawoff.scan(path, drop=["b"], in_null=["NaN"]).collect()["f"].to_list() == [0.5, None, None]
    with pytest.raises((drawoff.BadDataError, polars.exceptions.PolarsError), match="`f` contains an infinity or NaN"):
        without.collect()
    # Bytes are base64.
    bytes_alone = drawoff.scan(path).select("b").filter(col("b").is_not_null())
    assert bytes_alone.collect()["b"].to_list() == ["eA==", "eQ=="]
