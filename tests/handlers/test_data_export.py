"""Exports from a real database to real files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest

from taskflow.errors import DeadLetter, InvalidPayload
from taskflow.tasks.registry import registry
from tests.handlers.database import ConnectedAttempt, run_with
from tests.worker.conftest import Bench

ROOT = Path(__file__).parents[2]
Export = Callable[..., dict[str, Any]]
VALUES = """
SELECT 12345678901234567890.12::numeric AS "decimal", '2026-03-01 12:00:00.5+02'::timestamptz AS at,
       DATE '2026-03-01' AS day, '{"a":  [1, "x\\\\y"],\n "b": null}'::json AS doc, '{"k": "ü"}'::jsonb AS docb,
       ARRAY[1, NULL, 3] AS list, '\\xdeadbeef'::bytea AS raw, NULL::text AS nothing, '' AS empty,
       E'two\nlines, "quoted" \\\\ tab\\there' AS words, true AS yes, 1.5::float8 AS half, 'NaN'::float8 AS nan,
       INTERVAL '1 day 02:00' AS span, 9007199254740993 AS large, 'infinity'::timestamptz AS never, 7 AS seven
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    monkeypatch.setenv("TASKFLOW_FILES_ROOT", str(directory))
    monkeypatch.setenv("TASKFLOW_EXPORT_QUERIES", "true")
    return directory


@pytest.fixture
def attempt(shared_dsn: str) -> ConnectedAttempt:
    return ConnectedAttempt(shared_dsn)


@pytest.fixture
def export(root: Path, attempt: ConnectedAttempt) -> Export:
    return lambda query, **payload: run_with(attempt, "data_export", {"query": query, **payload})


def cells(path: Path, sheet: int = 1) -> list[dict[str, str]]:
    """Each row of a sheet: column letter → value, as it stands in the XML."""
    with zipfile.ZipFile(path) as book:
        document = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    return [
        {cell.attrib["r"].rstrip("0123456789"): "".join(cell.itertext()) for cell in row.iter(f"{space}c")}
        for row in document.iter(f"{space}row")
    ]


def test_the_result_says_what_was_written_and_where(export: Export, root: Path) -> None:
    result = export("SELECT i FROM generate_series(1, 3) AS i")
    content = (root / "exports" / "4711.csv").read_bytes()
    assert content == b"i\n1\n2\n3\n"
    assert result == {
        "path": "exports/4711.csv",
        "format": "csv",
        "rows": 3,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_csv_has_every_value_as_postgres_writes_it_and_null_unlike_empty(export: Export, root: Path) -> None:
    export(VALUES, path="values.csv")
    text = (root / "values.csv").read_text()
    row = next(csv.DictReader(StringIO(text, newline="")))
    assert row == {
        "decimal": "12345678901234567890.12",
        "at": "2026-03-01 10:00:00.5+00",
        "day": "2026-03-01",
        "doc": '{"a":  [1, "x\\\\y"],\n "b": null}',
        "docb": '{"k": "ü"}',
        "list": "{1,NULL,3}",
        "raw": "\\xdeadbeef",
        "nothing": "",
        "empty": "",
        "words": 'two\nlines, "quoted" \\ tab\there',
        "yes": "t",
        "half": "1.5",
        "nan": "NaN",
        "span": "P1DT2H",
        "large": "9007199254740993",
        "never": "infinity",
        "seven": "7",
    }
    assert '\\xdeadbeef,,"",' in text


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_json_has_numbers_objects_and_arrays_as_such(export: Export, root: Path, form: str) -> None:
    export(f"{VALUES} UNION ALL {VALUES}".replace(" AS doc,", "::text AS doc,"), format=form, path="values")
    text = (root / "values").read_text()
    rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.split("\n")[:-1]]
    assert len(rows) == 2
    assert rows[0] == rows[1]
    assert rows[0] | {"decimal": 0} == {
        "decimal": 0,
        "at": "2026-03-01T10:00:00.5+00:00",
        "day": "2026-03-01",
        "doc": '{"a":  [1, "x\\\\y"],\n "b": null}',
        "docb": {"k": "ü"},
        "list": [1, None, 3],
        "raw": "\\xdeadbeef",
        "nothing": None,
        "empty": "",
        "words": 'two\nlines, "quoted" \\ tab\there',
        "yes": True,
        "half": 1.5,
        "nan": "NaN",
        "span": "P1DT2H",
        "large": 9007199254740993,
        "never": "infinity",
        "seven": 7,
    }
    assert '"decimal":12345678901234567890.12' in text


def test_a_json_column_with_line_breaks_stays_on_one_line(export: Export, root: Path) -> None:
    export(VALUES, format="ndjson", path="values")
    lines = (root / "values").read_text().split("\n")
    assert len(lines) == 2
    assert json.loads(lines[0])["doc"] == {"a": [1, "x\\y"], "b": None}


def test_nothing_to_export_is_a_valid_file(export: Export, root: Path) -> None:
    none = "SELECT 1 AS a WHERE false"
    assert [export(none, format=form, path=form)["rows"] for form in ("csv", "json", "ndjson", "xlsx")] == [0, 0, 0, 0]
    assert [(root / form).read_text() for form in ("csv", "json", "ndjson")] == ["a\n", "[]\n", ""]
    assert cells(root / "xlsx") == [{"A": "a"}]


def test_xlsx_has_numbers_and_times_as_such_and_what_a_cell_cannot_hold_as_text(export: Export, root: Path) -> None:
    result = export(VALUES, format="xlsx")
    names, values = cells(root / result["path"])
    assert {names[column]: value for column, value in values.items()} == {
        "decimal": "12345678901234567890.12",
        "at": "46082.41667245371",
        "day": "46082",
        "doc": '{"a":  [1, "x\\\\y"],\n "b": null}',
        "docb": '{"k": "ü"}',
        "list": "{1,NULL,3}",
        "raw": "\\xdeadbeef",
        "empty": "",
        "words": 'two\nlines, "quoted" \\ tab\there',
        "yes": "1",
        "half": "1.5",
        "nan": "nan",
        "span": "P1DT2H",
        "large": "9007199254740993",
        "never": "infinity",
        "seven": "7",
    }
    assert list(root.iterdir()) == [root / "exports"]


def test_xlsx_goes_on_a_further_sheet_where_one_is_full(
    export: Export, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.handlers._export_formats.XLSX_ROWS", 4)  # with the names: 3 rows
    assert export("SELECT i FROM generate_series(1, 7) AS i", format="xlsx", path="book")["rows"] == 7
    sheets = [[row["A"] for row in cells(root / "book", sheet)] for sheet in (1, 2, 3)]
    assert sheets == [["i", "1", "2", "3"], ["i", "4", "5", "6"], ["i", "7"]]


def test_a_text_too_long_for_a_cell_is_final_and_nothing_is_left(export: Export, root: Path) -> None:
    with pytest.raises(DeadLetter, match="row 2, column t: 40,000 characters, and a cell of XLSX holds 32,767"):
        export("SELECT repeat('x', n) AS t FROM (VALUES (1), (40000)) AS v (n)", format="xlsx")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_gzip_is_the_same_file_compressed_and_the_same_each_time(export: Export, root: Path) -> None:
    first = export("SELECT i FROM generate_series(1, 1000) AS i", gzip=True)
    assert first["path"] == "exports/4711.csv.gz"
    assert gzip.decompress((root / first["path"]).read_bytes()).count(b"\n") == 1001
    assert export("SELECT i FROM generate_series(1, 1000) AS i", gzip=True) == first


def test_formulas_are_escaped_where_that_is_asked_for(export: Export, root: Path) -> None:
    query = """
        SELECT '=1+1' AS "=a", '@x'::varchar AS b, -5 AS c, '-5' AS d, 'x=1' AS e, NULL::text AS f, '["="]'::json AS g
    """
    export(query, path="plain")
    export(query, path="escaped", escape_formulas=True, delimiter=";")
    assert (root / "plain").read_text() == '=a,b,c,d,e,f,g\n=1+1,@x,-5,-5,x=1,,"[""=""]"\n'
    assert (root / "escaped").read_text() == '\'=a;b;c;d;e;f;g\n\'=1+1;\'@x;-5;\'-5;x=1;;"[""=""]"\n'


def test_parameters_are_values_never_sql(export: Export, root: Path) -> None:
    query = (
        "SELECT %(name)s AS name, i FROM generate_series(1, %(most)s) AS i WHERE i = ANY (%(ids)s) AND 'a%%b' LIKE '%%'"
    )
    name = "x'; DROP TABLE taskflow.tasks; --\\"
    export(query, params={"name": name, "most": 9, "ids": [2, 3]}, format="ndjson", path="rows")
    assert [json.loads(line) for line in (root / "rows").read_text().splitlines()] == [
        {"name": name, "i": 2},
        {"name": name, "i": 3},
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("INSERT INTO taskflow.queues (name) VALUES ('x')", "must be one SELECT"),
        ("WITH d AS (DELETE FROM taskflow.queues RETURNING 1) SELECT * FROM d", "must be one SELECT"),
        ("SELECT 1; DROP TABLE taskflow.tasks", "must be one SELECT"),
        ("SELECT 1) TO PROGRAM 'touch /tmp/pwned' --", "must be one SELECT"),
        ("SELECT 1 /* ", "must be one SELECT"),
        ("COPY taskflow.tasks TO PROGRAM 'cat'", "must be one SELECT"),
        ("SET ROLE postgres", "must be one SELECT"),
        ("SELECT * INTO t FROM taskflow.queues", "must be one SELECT|SELECT INTO"),
        ("SELECT * FROM taskflow.queues FOR UPDATE", "read-only transaction"),
        ("SELECT * FROM taskflow.enqueue('echo')", "read-only transaction"),
        (
            "SELECT set_config('transaction_read_only', 'off', true), taskflow.enqueue('echo')",
            "must be set before any query",
        ),
        ("SELECT * FROM missing", 'relation "missing" does not exist'),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT %(nobody)s", "needs the parameter 'nobody'"),
        ("SELECT '5%'", "a percent sign is written %%"),
        ("SELECT '%s'", "a percent sign is written %%"),
        ("SELECT %(a)d", "a percent sign is written %%"),
        ("SELECT 'a\0b'", "the query contains the character U\\+0000"),
        ("SELECT pg_catalog.lo_create(0)", "read-only transaction"),
    ],
)
def test_what_is_not_one_select_that_writes_nothing_is_final(
    export: Export, root: Path, shared_dsn: str, query: str, message: str
) -> None:
    for form in ("csv", "ndjson", "xlsx"):
        with pytest.raises(DeadLetter, match=message):
            export(query, format=form)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    with psycopg.connect(shared_dsn) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM taskflow.tasks), to_regclass('t')").fetchone() == (
            0,
            None,
        )


@pytest.mark.parametrize(
    "value", ["", "a", "ü 😀 \u2028", "it's", 'a "b" \\ {c,d}', "\n--\t/* */;$$%(x)s%%", "NULL", "\\u0041"]
)
def test_a_text_comes_back_as_it_was_alone_and_in_an_array(export: Export, root: Path, value: str) -> None:
    query = "SELECT %(text)s::text AS text, %(list)s::text[] AS list"
    export(query, params={"text": value, "list": [value, None, value]}, format="ndjson", path="rows")
    assert json.loads((root / "rows").read_text()) == {"text": value, "list": [value, None, value]}


@pytest.mark.parametrize(
    "value", ["x\nUNION SELECT 'stolen' --", "x*/ UNION SELECT 'stolen' /*", "' UNION SELECT 'stolen' --"]
)
def test_a_value_never_becomes_sql_wherever_its_placeholder_stands(export: Export, root: Path, value: str) -> None:
    commented = "-- all of %(text)s\nSELECT 'own' /* not %(text)s */ AS what -- %(text)s"
    export(commented, params={"text": value}, path="rows")
    assert (root / "rows").read_text() == "what\nown\n"
    with pytest.raises(DeadLetter):
        export("SELECT '%(text)s' AS what", params={"text": value})


def test_numbers_keep_their_sign_and_all_their_digits(export: Export, root: Path) -> None:
    params = {"a": -5, "b": 2**62, "c": -1.5e-7, "d": True, "e": None}
    query = "SELECT 1 -%(a)s AS a, %(b)s AS b, %(c)s AS c, %(d)s AS d, %(e)s AS e, ARRAY[1, 2] @> %(f)s AS f"
    export(query, params={**params, "f": [2]}, path="rows")
    assert (root / "rows").read_text() == f"a,b,c,d,e,f\n6,{2**62},-0.00000015,t,,t\n"


def test_a_parameter_that_the_query_does_not_have_is_final(export: Export) -> None:
    with pytest.raises(DeadLetter, match="the query has no parameter since"):
        export("SELECT 1", params={"since": "2026-01-01"})


def test_without_the_library_for_xlsx_the_error_names_the_extra(
    export: Export, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(DeadLetter, match=r"pip install 'taskflow-pg\[exports\]'"):
        export("SELECT 1", format="xlsx")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_two_columns_of_one_name_are_refused_as_json(export: Export) -> None:
    with pytest.raises(DeadLetter, match="several columns are called a"):
        export("SELECT 1 AS a, 2 AS a", format="json")
    assert export("SELECT 1 AS a, 2 AS a", escape_formulas=True)["rows"] == 1


def test_queries_in_payloads_are_off_until_the_operator_allows_them(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKFLOW_EXPORT_QUERIES")
    with pytest.raises(DeadLetter, match="TASKFLOW_EXPORT_QUERIES=true"):
        export("SELECT 1")


def test_a_named_export_needs_no_such_leave_and_takes_parameters(
    root: Path, attempt: ConnectedAttempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKFLOW_EXPORT_QUERIES")
    payload = {"export": "orders", "params": {"least": 2}}
    with pytest.raises(DeadLetter, match="TASKFLOW_EXPORTS is not set"):
        run_with(attempt, "data_export", payload)
    monkeypatch.setenv("TASKFLOW_EXPORTS", str(tmp_path))
    (tmp_path / "orders.sql").write_text(
        "-- all of them\nSELECT i FROM generate_series(1, 3) i WHERE i >= %(least)s;\n"
    )
    assert run_with(attempt, "data_export", payload)["rows"] == 2
    with pytest.raises(DeadLetter, match="there is no export 'invoices' in TASKFLOW_EXPORTS; there are: orders"):
        run_with(attempt, "data_export", {"export": "invoices"})


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"query": "SELECT 1", "export": "x"},
        {"query": "SELECT 1", "path": "../x"},
        {"query": "SELECT 1", "format": "xlsx", "gzip": True},
        {"query": "SELECT 1", "format": "json", "delimiter": ";"},
        {"query": "SELECT 1", "format": "parquet"},
        {"export": "../../etc/passwd"},
        {"query": "SELECT 1", "params": {"a b": 1}},
        {"query": "SELECT 1", "params": {"a": {}}},
        {"query": "SELECT 1", "more": 1},
    ],
)
def test_a_payload_that_makes_no_sense_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        run_with(ConnectedAttempt("no database is needed for this"), "data_export", payload)


def test_the_role_and_the_database_of_exports_are_used(
    export: Export, root: Path, shared_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_EXPORT_ROLE", "taskflow_producer")
    with pytest.raises(DeadLetter, match=r"permission denied .*42501"):
        export("SELECT * FROM taskflow.api_keys")
    monkeypatch.setenv("TASKFLOW_EXPORT_ROLE", "nobody at all")
    with pytest.raises(DeadLetter, match='role of TASKFLOW_EXPORT_ROLE cannot be taken: role "nobody at all" does not'):
        export("SELECT 1")
    monkeypatch.setenv("TASKFLOW_EXPORT_ROLE", "")
    monkeypatch.setenv("TASKFLOW_EXPORT_DATABASE_URL", f"{shared_dsn}&options=-csearch_path%3Delsewhere")
    export("SELECT current_setting('search_path') AS path, current_setting('application_name') AS name", path="x")
    assert (root / "x").read_text() == "path,name\nelsewhere,taskflow export\n"


def test_a_wrong_connection_string_is_final_and_never_repeated(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_EXPORT_DATABASE_URL", "postgres//user:s3cret@host")
    with pytest.raises(DeadLetter, match="not a PostgreSQL connection string") as caught:
        export("SELECT 1")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_progress_counts_the_rows(export: Export, attempt: ConnectedAttempt) -> None:
    export("SELECT i FROM generate_series(1, 25000) AS i")
    percents = [percent for percent, _ in attempt.progress]
    assert percents == sorted(percents)
    assert attempt.progress[-1] == (100, "25,000 rows")
    assert (99, "10,000 rows") in attempt.progress or any("10,000" in (m or "") for _, m in attempt.progress)


FLAT = """
import sys
from pathlib import Path
from tests.handlers.database import ConnectedAttempt, run_with

def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage() would begin with the peak of the parent
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def export(form: str, rows: int) -> int:
    query = "SELECT i AS id, repeat(md5(i::text), 7) AS text FROM generate_series(1, %(rows)s) AS i"
    payload = {"query": query, "params": {"rows": rows}, "format": form, "path": form}
    return run_with(ConnectedAttempt(sys.argv[1]), "data_export", payload)["bytes"]

for form, rows in (("csv", 150_000), ("json", 50_000), ("ndjson", 50_000), ("xlsx", 20_000)):
    export(form, 1000)
    before = peak()
    print(form, export(form, rows), peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_is_flat_however_many_rows_there_are(root: Path, shared_dsn: str) -> None:
    output = subprocess.run(
        [sys.executable, "-c", FLAT, shared_dsn], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    grown = {form: int(kilobytes) for form, _, kilobytes in map(str.split, output.splitlines())}
    sizes = {form: int(written) for form, written, _ in map(str.split, output.splitlines())}
    assert sizes["csv"] > 30_000_000
    assert set(grown) == {"csv", "json", "ndjson", "xlsx"}
    assert max(grown.values()) < 6_000, grown  # kB


def test_a_cancel_and_a_timeout_end_the_query_on_the_server_and_leave_nothing(
    root: Path, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    bench = Bench(dsn, connection)
    bench.registry = registry

    def export(number: int, **columns: Any) -> int:
        return bench.enqueue("data_export", json.dumps({"query": f"SELECT {number}, pg_sleep(60)"}), **columns)

    first = bench.enqueue("data_export", json.dumps({"query": "SELECT 1"}))

    def runs(number: int) -> bool:
        like = f"COPY%SELECT {number}, pg_sleep%"
        return bool(connection.execute("SELECT FROM pg_stat_activity WHERE query LIKE %s", (like,)).fetchall())

    with bench.worker(types=("data_export",), concurrency=1):
        bench.wait(lambda: bench.task(first, "state") == ("completed",), 60)  # its process is there for the next one
        timed_out = export(1, timeout=4, max_attempts=1)
        bench.wait(lambda: runs(1))
        state, error = bench.ended(timed_out, "error")
        assert (state, "timeout" in error) == ("dead_letter", True)
        bench.wait(lambda: not runs(1), 5)
        cancelled = export(2)
        bench.wait(lambda: runs(2), 60)
        connection.execute("SELECT taskflow.cancel(%s)", (cancelled,))
        assert bench.ended(cancelled) == ("cancelled",)
        bench.wait(lambda: not runs(2), 5)
    assert [path.name for path in root.rglob("*") if path.is_file()] == [f"{first}.csv"]
