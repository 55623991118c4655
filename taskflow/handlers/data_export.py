"""`data_export`: the rows of one SELECT as a file: CSV, JSON, NDJSON or XLSX, in flat memory however many there are."""

from __future__ import annotations

import gzip
import io
import time
from typing import Annotated, Any, BinaryIO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from taskflow import Context, DeadLetter, task
from taskflow.handlers._export_formats import write_csv, write_json, write_ndjson, write_xlsx
from taskflow.handlers._export_source import Source, named_query, source
from taskflow.handlers._files import BUFFER_BYTES, Files, RelativePath
from taskflow.handlers._schemas import one_of
from taskflow.settings import Settings, process_settings

TIMEOUT_SECONDS = 3600.0
REPORT_SECONDS = 0.5
COMPRESSION = 6

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
Parameter = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Scalar = str | int | float | bool | None


class DataExport(BaseModel):
    """What to export, as what, and where to."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra=one_of("query", "export"),
    )

    export: Name | None = Field(None, description="The name of an export that the operator has set up.")
    query: str | None = Field(
        None, min_length=1, max_length=100_000, description="A SELECT, where TASKFLOW_EXPORT_QUERIES allows it."
    )
    params: dict[Parameter, Scalar | list[Scalar]] = Field(
        default_factory=dict, max_length=100, description="The values of %(name)s in the query; a list is an array."
    )
    format: Literal["csv", "json", "ndjson", "xlsx"] = Field("csv", description="The form of the file.")
    path: RelativePath | None = Field(
        None, description="The file, below TASKFLOW_FILES_ROOT; exports/<task id>.<format> without one."
    )
    gzip: bool = Field(False, description="Compress it; not for xlsx, which is compressed.")
    delimiter: Literal[",", ";", "\t", "|"] = Field(",", description="What stands between two values of csv.")
    escape_formulas: bool = Field(
        False, description="In csv, put an apostrophe before texts that a spreadsheet would take for a formula."
    )

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if (self.query is None) == (self.export is None):
            raise ValueError("give either export or query")
        if self.gzip and self.format == "xlsx":
            raise ValueError("an xlsx file is compressed already: leave gzip out")
        if self.format != "csv" and {"delimiter", "escape_formulas"} & self.model_fields_set:
            raise ValueError("delimiter and escape_formulas are for csv")
        return self

    def path_for(self, task_id: int) -> str:
        """Where the file goes, below the root."""
        return self.path or f"exports/{task_id}.{self.format}{'.gz' if self.gzip else ''}"


@task("data_export", isolation="process", timeout=TIMEOUT_SECONDS)
def data_export(payload: DataExport, context: Context) -> dict[str, Any]:
    """Write the file; return ``{"path", "format", "rows", "bytes", "sha256"}``.

    It is there when it is complete, and replaces the one before. In a process of its own: when that is killed, by a
    cancel or a timeout, the server notices within a second and ends the query. Raises `DeadLetter` for what no retry
    mends: settings, rights, the query itself.
    """
    settings = process_settings()
    files = Files.configured(settings)
    query = _query(payload, settings)
    path = payload.path_for(context.task_id)
    context.progress(0, "waiting for the first rows")
    with (
        files.create(path, f"{context.task_id}") as file,
        source(query, payload.params, context, settings) as rows,
    ):
        count = _write(payload, rows, file.stream, _Progress(context, rows.expected_rows), files)
    context.progress(100, f"{count:,} rows")
    return {"path": path, "format": payload.format, "rows": count, "bytes": file.bytes, "sha256": file.sha256}


def _query(payload: DataExport, settings: Settings) -> str:
    if payload.export is not None:
        return named_query(payload.export, settings)
    if not settings.export_queries:
        raise DeadLetter(
            "queries in payloads are not allowed here: name an export of TASKFLOW_EXPORTS, or set "
            "TASKFLOW_EXPORT_QUERIES=true where whoever creates tasks may read the database"
        )
    assert payload.query is not None
    return payload.query


def _write(payload: DataExport, rows: Source, stream: BinaryIO, report: _Progress, files: Files) -> int:
    if payload.gzip:
        # Without a time in it, so that equal rows give equal files.
        # Without a buffer in front it would be called for each row.
        with io.BufferedWriter(gzip.GzipFile("", "wb", COMPRESSION, stream, mtime=0), BUFFER_BYTES) as packed:
            return _write_rows(payload, rows, packed, report, files)
    return _write_rows(payload, rows, stream, report, files)


def _write_rows(payload: DataExport, rows: Source, stream: BinaryIO, report: _Progress, files: Files) -> int:
    match payload.format:
        case "csv":
            escape = payload.escape_formulas
            return write_csv(rows, stream, report, delimiter=payload.delimiter, escape_formulas=escape)
        case "json":
            return write_json(rows, stream, report)
        case "ndjson":
            return write_ndjson(rows, stream, report)
        case "xlsx":
            return write_xlsx(rows, stream, report, files)


class _Progress:
    """Shows the number of rows twice a second. Its percent is by the planner's guess, so it waits at 99 for the end."""

    def __init__(self, context: Context, expected: int) -> None:
        self._context = context
        self._expected = max(1, expected)
        self._next = 0.0

    def __call__(self, rows: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self._context.heartbeat()
            self._context.progress(min(99.0, 100 * rows / self._expected), f"{rows:,} rows")
