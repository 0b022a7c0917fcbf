"""Values of every type, through every library, beside those of json.loads."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, List

import duckdb
import polars
import pytest

import drawoff

RECORDS: List[Dict[str, Any]] = [
    {
        "bool": True,
        "int": 9223372036854775807,
        "float": 0.1,
        "text": "Æ “x” \u0000 \U0001f600",
        "big": 12345678901234567890,
        "struct": {"a": 1, "b": {"c": "d", "e": [1.5]}},
        "list": [1, 2],
        "texts": ["a", None, ""],
        "structs": [{"x": 1}, {"x": None}],
        "lists": [[1], [], [2, 3]],
        "map": {f"user{n}@example.com": n for n in range(9)},
        "null": None,
        "mixed": 1,
        "empty": "",
    },
    {
        "bool": False,
        "int": -9223372036854775808,
        "float": -1e300,
        "text": "",
        "big": -1,
        "struct": {"a": None, "b": {"c": None, "e": []}},
        "list": [],
        "texts": [],
        "structs": [],
        "lists": [],
        "map": {},
        "null": None,
        "mixed": "1",
        "empty": "",
    },
    {
        name: None
        for name in (
            "bool",
            "int",
            "float",
            "text",
            "big",
            "struct",
            "list",
            "texts",
            "structs",
            "lists",
            "map",
            "null",
            "mixed",
            "empty",
        )
    },
    {
        "bool": True,
        "int": 0,
        "float": 5e-324,
        "text": "line\nbreak\ttab",
        "big": 0,
        "struct": {"a": 2, "b": None},
        "list": [None],
        "texts": ["é"],
        "structs": [None],
        "lists": [None],
        "map": {"x@example.com": None},
        "null": None,
        "mixed": {"b": [1, "x"], "a": 1.5},
        "empty": "",
    },
]


def plain(name: str, value: Any) -> Any:
    """A value of a library in the form of json.loads."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if name == "map":
        if isinstance(value, dict):
            return {str(key): plain("", item) for key, item in value.items()}
        pairs = [tuple(item.values()) if isinstance(item, dict) else tuple(item) for item in value]
        return {key: plain("", item) for key, item in pairs}
    if name == "mixed":
        return json.loads(value)
    if isinstance(value, decimal.Decimal):
        return int(value)
    if isinstance(value, dict):
        return {key: plain("", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain("", item) for item in value]
    return value


def of_pyarrow(reader: drawoff.Reader) -> List[Dict[str, Any]]:
    return reader.read_all().to_pylist()


def of_polars(reader: drawoff.Reader) -> List[Dict[str, Any]]:
    return reader.to_polars().to_dicts()


def of_pandas(reader: drawoff.Reader) -> List[Dict[str, Any]]:
    frame = reader.to_pandas(types_mapper=None, integer_object_nulls=True)
    return [{name: frame[name].iloc[n] for name in frame.columns} for n in range(len(frame))]


def of_duckdb(reader: drawoff.Reader) -> List[Dict[str, Any]]:
    relation = duckdb.sql("FROM reader")
    names = list(relation.columns)
    return [dict(zip(names, row)) for row in relation.fetchall()]


def of_nanoarrow(reader: drawoff.Reader) -> List[Dict[str, Any]]:
    return polars.DataFrame(reader).to_dicts()


@pytest.mark.parametrize("library", [of_pyarrow, of_polars, of_pandas, of_duckdb, of_nanoarrow])
def test_values_are_those_of_json(
    library: Callable[[drawoff.Reader], List[Dict[str, Any]]], ndjson: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ndjson(RECORDS)
    if library is of_nanoarrow:
        monkeypatch.setattr("drawoff._reader.arrow_library", lambda: "nanoarrow")
    found = library(drawoff.convert(path))
    expected = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(found) == len(expected)
    for row, record in zip(found, expected):
        for name, value in record.items():
            found_value = plain(name, row[name])
            if name == "map" and value is None and polars.__version__.startswith("1."):
                # polars 1 makes an empty list of a map that is null.
                found_value = found_value or None
            assert found_value == value, name


def test_dates_times_and_decimals(ndjson: Callable[..., Path]) -> None:
    path = ndjson([{"d": "2024-02-29", "t": "2024-02-29T12:00:00.5Z", "l": "2024-02-29 12:00:00", "m": "12.30"}, {}])
    casts = {"d": "date", "t": "timestamp", "l": "timestamp(ms, local)", "m": "decimal(9,2)"}
    utc = datetime.timezone.utc
    expected = {
        "d": datetime.date(2024, 2, 29),
        "t": datetime.datetime(2024, 2, 29, 12, 0, 0, 500000, tzinfo=utc),
        "l": datetime.datetime(2024, 2, 29, 12),
        "m": decimal.Decimal("12.30"),
    }
    for rows in (
        drawoff.convert(path, cast=casts).read_all().to_pylist(),
        drawoff.convert(path, cast=casts).to_polars().to_dicts(),
    ):
        assert rows[0] == expected
        assert set(rows[1].values()) == {None}
    reader = drawoff.convert(path, cast=casts)
    # DuckDB needs a further package to make a time with a zone for Python.
    rows = duckdb.sql("SELECT d, epoch_us(t), l, m FROM reader").fetchall()
    micros = int(expected["t"].timestamp() * 1_000_000)
    assert rows[0] == (expected["d"], micros, expected["l"], expected["m"])
    assert rows[1] == (None,) * 4


def test_nanoarrow_alone(ndjson: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("drawoff._reader.arrow_library", lambda: "nanoarrow")
    path = ndjson([{"a": n} for n in range(1000)])
    assert sum(len(batch) for batch in drawoff.convert(path)) == 1000
    assert polars.DataFrame(drawoff.convert(path))["a"].to_list() == list(range(1000))
    assert drawoff.scan(path).filter(polars.col("a") > 990).collect().height == 9
    with path.open("a") as file:
        file.write('{"a": 1}\n' * 200_000 + '{"a": 0.5}\n')
    reader = drawoff.convert(path, schema_from="sample")
    with pytest.raises(BaseException, match="line 201001"):
        polars.DataFrame(reader)
    assert isinstance(reader.error, drawoff.SchemaChangedError)


def test_without_a_library_the_call_says_so(monkeypatch: pytest.MonkeyPatch, ndjson: Callable[..., Path]) -> None:
    import sys

    path = ndjson([{"a": 1}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    with pytest.raises(drawoff.Error, match="neither pyarrow nor nanoarrow is installed") as caught:
        drawoff.convert(path)
    assert "pip install pyarrow" in (caught.value.hint or "")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(drawoff.Error, match="polars is not installed"):
        drawoff.scan(path)
    monkeypatch.setattr(polars, "__version__", "1.21.0")
    monkeypatch.setitem(sys.modules, "polars", polars)
    with pytest.raises(drawoff.Error, match="polars 1.21.0 is too old"):
        drawoff.scan(path)
    # Files need neither.
    assert drawoff.convert(path, output=path.with_suffix(".csv")).rows_written == 1
