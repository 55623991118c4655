"""The forms that an export can have: each writes the rows of a source to a file and returns how many there were.

CSV and JSON are made by the server, and what it sends is passed on as it comes, a message a row: so memory stays flat,
and the rows can be counted. For XLSX rows are fetched a thousand at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any, BinaryIO

import psycopg
from psycopg import sql

from taskflow import DeadLetter
from taskflow.handlers._export_source import Column, Source, column_name
from taskflow.handlers._files import Files

Report = Callable[[int], None]  # is told now and then how many rows there have been
REPORT_ROWS = 10_000
XLSX_FETCH_ROWS = 1000
XLSX_ROWS, XLSX_CELL_CHARACTERS = 1_048_576, 32_767  # Excel's limits
XLSX_EXACT_DIGITS = 15
BOOLEAN, INTEGERS, FLOATS, NUMERIC = 16, frozenset({20, 21, 23}), frozenset({700, 701}), 1700
DATE, TIME, TIMESTAMP, TIMESTAMPTZ = 1082, 1083, 1114, 1184
# What a spreadsheet takes for a formula, https://owasp.org/www-community/attacks/CSV_Injection
FORMULA_STARTS = "=+-@\t\r"
# Of these nothing begins like a formula but a negative number, which is none.
HARMLESS = frozenset({BOOLEAN, *INTEGERS, *FLOATS, NUMERIC, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, 26, 790, 1186, 2950})


def write_csv(source: Source, out: BinaryIO, report: Report, *, delimiter: str, escape_formulas: bool) -> int:
    """RFC 4180 as PostgreSQL writes it: NULL is empty, an empty text is `""`. The first line has the names."""
    query: sql.Composable = sql.SQL(source.query)
    if escape_formulas:
        query = source.selecting(
            [_harmless(column, column_name(number)) for number, column in enumerate(source.columns, 1)]
        )
    statement = sql.SQL("COPY (\n{}\n) TO STDOUT (FORMAT csv, HEADER, DELIMITER {})").format(
        query, sql.Literal(delimiter)
    )
    return _copied(source.connection, statement, report, out.write)


def write_ndjson(source: Source, out: BinaryIO, report: Report) -> int:
    """A JSON object a line."""
    return _json_rows(source, report, lambda row: out.write(row + b"\n"))


def write_json(source: Source, out: BinaryIO, report: Report) -> int:
    """One array of JSON objects, one a line."""
    separator = b"[\n"

    def write(row: bytes) -> None:
        nonlocal separator
        out.write(separator)
        out.write(row)
        separator = b",\n"

    rows = _json_rows(source, report, write)
    out.write(b"\n]\n" if rows else b"[]\n")
    return rows


def write_xlsx(source: Source, out: BinaryIO, report: Report, files: Files) -> int:
    """A workbook; a sheet holds 1,048,575 rows below their names, and more go on further sheets.

    Raises `DeadLetter` if the library is not installed, and for a text that is too long for a cell.
    """
    try:
        import xlsxwriter
    except ImportError:
        raise DeadLetter(
            "xlsx needs XlsxWriter, which is not installed here: pip install 'taskflow-pg[exports]'"
        ) from None
    with files.scratch() as directory:
        options = {"constant_memory": True, "tmpdir": directory, "use_zip64": True, "nan_inf_to_errors": False}
        book = xlsxwriter.Workbook(out, {**options, "in_memory": False})
        return _Sheets(book, source.columns).write(_typed_rows(source), report)


def _copied(
    connection: psycopg.Connection[Any], statement: sql.Composed, report: Report, write: Callable[[Any], object]
) -> int:
    cursor = connection.cursor()
    until_report = REPORT_ROWS
    count = 0
    with cursor.copy(statement) as copy:
        for row in copy:
            write(row)
            until_report -= 1
            if not until_report:
                count += REPORT_ROWS
                until_report = REPORT_ROWS
                report(count)
    return cursor.rowcount


def _harmless(column: Column, place: sql.Identifier) -> sql.Composed:
    name = f"'{column.name}" if column.name.startswith(tuple(FORMULA_STARTS)) else column.name
    value: sql.Composable = place
    if column.oid not in HARMLESS:
        value = sql.SQL("CASE WHEN left({0}::text, 1) = ANY ({1}) THEN '''' || {0}::text ELSE {0}::text END").format(
            place, sql.Literal(list(FORMULA_STARTS))
        )
    return sql.SQL("{} AS {}").format(value, sql.Identifier(name))


def _json_rows(source: Source, report: Report, write: Callable[[bytes], object]) -> int:
    names = [column.name for column in source.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeadLetter(f"several columns are called {', '.join(twice)}: give each a name of its own with AS")
    statement = sql.SQL("COPY (SELECT row_to_json(q) FROM (\n{}\n) AS q) TO STDOUT").format(sql.SQL(source.query))

    def unescaped(data: Any) -> None:
        row = bytes(data)[:-1]
        if b"\\" in row:
            # COPY's text form: a backslash is doubled, and a line break or tab, which can only stand between two
            # values of a column of type json, is \n, \r or \t.
            row = row.replace(b"\\\\", b"\0")
            for escape in (b"\\n", b"\\r", b"\\t"):
                row = row.replace(escape, b" ")
            row = row.replace(b"\0", b"\\")
        write(row)

    return _copied(source.connection, statement, report, unescaped)


def _typed_rows(source: Source) -> Iterator[tuple[Any, ...]]:
    """The rows with booleans and numbers as such, and all else as the server's text."""
    native = {BOOLEAN, *INTEGERS, *FLOATS}
    expressions: list[sql.Composable] = [
        column_name(number) if column.oid in native else sql.SQL("{}::text").format(column_name(number))
        for number, column in enumerate(source.columns, 1)
    ]
    with psycopg.RawServerCursor(source.connection, "taskflow_export_rows") as cursor:
        cursor.itersize = XLSX_FETCH_ROWS
        cursor.execute(source.selecting(expressions))
        yield from cursor


class _Sheets:
    """The sheets of a workbook, one after the other."""

    def __init__(self, book: Any, columns: tuple[Column, ...]) -> None:
        self._book = book
        self._columns = columns
        self._bold = book.add_format({"bold": True})
        formats = {DATE: "yyyy-mm-dd", TIME: "hh:mm:ss", TIMESTAMP: "yyyy-mm-dd hh:mm:ss"}
        formats[TIMESTAMPTZ] = formats[TIMESTAMP]
        self._formats = {oid: book.add_format({"num_format": form}) for oid, form in formats.items()}

    def write(self, rows: Iterator[tuple[Any, ...]], report: Report) -> int:
        count = 0
        sheet, place = self._new_sheet(), 1
        with contextlib.closing(self._book):
            for row in rows:
                if place == XLSX_ROWS:
                    sheet, place = self._new_sheet(), 1
                for number, value in enumerate(row):
                    if value is not None:
                        self._write_cell(sheet, place, number, value, count)
                place += 1
                count += 1
                if count % REPORT_ROWS == 0:
                    report(count)
        return count

    def _new_sheet(self) -> Any:
        sheet = self._book.add_worksheet()
        for number, column in enumerate(self._columns):
            sheet.write_string(0, number, column.name, self._bold)
        return sheet

    def _write_cell(self, sheet: Any, place: int, number: int, value: Any, count: int) -> None:
        column = self._columns[number]
        if isinstance(value, bool):
            sheet.write_boolean(place, number, value)
            return
        cell = _cell(value, column.oid)
        if isinstance(cell, str):
            if len(cell) > XLSX_CELL_CHARACTERS:
                raise DeadLetter(
                    f"row {count + 1}, column {column.name}: {len(cell):,} characters, and a cell of XLSX holds "
                    f"{XLSX_CELL_CHARACTERS:,}; export as csv or ndjson, or shorten it with left()"
                )
            sheet.write_string(place, number, cell)
        elif isinstance(cell, int | float):
            sheet.write_number(place, number, cell)
        else:
            sheet.write_datetime(place, number, cell, self._formats[column.oid])


def _cell(value: Any, oid: int) -> int | float | str | date | datetime | time:
    """A number or a time if a cell can hold it exactly, its text otherwise."""
    if isinstance(value, int):
        return value if abs(value) < 10**XLSX_EXACT_DIGITS else str(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if oid == NUMERIC:
        return _number(value)
    if oid in (DATE, TIME, TIMESTAMP, TIMESTAMPTZ):
        return _moment(value, oid)
    return str(value)


def _number(text: str) -> float | str:
    number = Decimal(text)
    if number.is_finite() and len(number.normalize().as_tuple().digits) <= XLSX_EXACT_DIGITS:
        as_float = float(number)
        if isfinite(as_float) and (as_float or not number):
            return as_float
    return text


def _moment(text: str, oid: int) -> date | datetime | time | str:
    """Excel knows no time before 1900 (nor is its February of that year right), and none with a zone: it is UTC."""
    try:
        if oid == TIME:
            return time.fromisoformat(text)
        if oid == DATE:
            day = date.fromisoformat(text)
            return day if day >= date(1900, 3, 1) else text
        moment = datetime.fromisoformat(text).replace(tzinfo=None)
        return moment if moment >= datetime(1900, 3, 1) else text  # noqa: DTZ001
    except ValueError:  # infinity, 24:00:00, before Christ, after 9999
        return text
