"""`image_resize`: one image in several sizes, as new files without what cameras write into theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from taskflow import Context, DeadLetter, task
from taskflow.handlers._files import Files, RelativePath
from taskflow.handlers._schemas import at_least_one_of, one_of
from taskflow.settings import process_settings

if TYPE_CHECKING:
    from taskflow.handlers._pictures import Picture

MAX_BYTES = 50 * 1024 * 1024
DOWNLOAD_SECONDS = 60.0
MAX_SIDE = 10_000
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
Fit = Literal["fit", "cover", "contain"]


class Size(BaseModel):
    """A box in pixels; with one side alone the other follows from the image."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=at_least_one_of("width", "height"))

    width: Side | None = Field(None, description="Pixels; at most, or exactly: see fit.")
    height: Side | None = Field(None, description="Pixels; at most, or exactly: see fit.")
    name: Name | None = Field(
        None, description="The file's name without its ending; <width>x<height> of the box without."
    )

    @property
    def label(self) -> str:
        """The file's name without its ending."""
        return self.name or f"{self.width or ''}x{self.height or ''}"


class ImageResize(BaseModel):
    """Which image, in which sizes, as what, and where to."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra=one_of("url", "path"),
    )

    path: RelativePath | None = Field(None, description="The image, below TASKFLOW_FILES_ROOT.")
    url: Annotated[str, StringConstraints(pattern="^https?://", max_length=8192)] | None = Field(
        None, description="The image, behind an http or https URL."
    )
    sizes: list[Size] = Field(min_length=1, max_length=20, description="The sizes to make.")
    fit: Fit = Field(
        "fit",
        description="fit: all of it within the box, never enlarged; cover: exactly the box, the rest is cut off; "
        "contain: exactly the box, all of it, with a margin.",
    )
    format: Literal["keep", "jpeg", "png", "webp"] = Field("keep", description="Of the new files.")
    quality: int = Field(85, ge=1, le=100, description="Of jpeg and webp.")
    directory: RelativePath | None = Field(
        None, description="For the new files, below TASKFLOW_FILES_ROOT; images/<task id> without one."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path or url")
        for size in self.sizes:
            if size.width is None and size.height is None:
                raise ValueError("a size needs a width or a height")
            if self.fit != "fit" and (size.width is None or size.height is None):
                raise ValueError(f"{self.fit} needs a width and a height in each size")
        labels = [size.label for size in self.sizes]
        if len(set(labels)) < len(labels):
            raise ValueError("two sizes have the same name")
        return self


@task("image_resize", isolation="process")
def image_resize(payload: ImageResize, context: Context) -> dict[str, Any]:
    """Make the files; return ``{"source": {"format", "width", "height"}, "files": […]}``.

    The image is turned as its EXIF data say, which are not in the new files. In a process of its own: decoders are
    written in C and fed by strangers. Raises `DeadLetter` for what is no image, or too large a one.
    """
    try:
        from taskflow.handlers._pictures import Picture
    except ImportError:
        raise DeadLetter(
            "image_resize needs Pillow, which is not installed here: pip install 'taskflow-pg[images]'"
        ) from None
    settings = process_settings()
    files = Files.configured(settings)
    directory = payload.directory or f"images/{context.task_id}"
    boxes = [(size.width or MAX_SIDE, size.height or MAX_SIDE) for size in payload.sizes]
    with _source(payload, files) as stream:
        context.progress(10, "the image is here")
        picture = Picture.read(stream, settings.image_max_pixels, boxes)
    made = []
    for number, (size, box) in enumerate(zip(payload.sizes, boxes, strict=True), 1):
        made.append(_make(picture, payload, f"{directory}/{size.label}", box, files, context))
        context.heartbeat()
        context.progress(10 + 90 * number / len(boxes), f"{number} of {len(boxes)} sizes")
    return {"source": {"format": picture.format, "width": picture.width, "height": picture.height}, "files": made}


def _source(payload: ImageResize, files: Files) -> BinaryIO:
    if payload.path is not None:
        return files.open(payload.path)
    from io import BytesIO

    from taskflow.handlers._download import download

    assert payload.url is not None
    return BytesIO(download(payload.url, limit_bytes=MAX_BYTES, timeout_seconds=DOWNLOAD_SECONDS))


def _make(
    picture: Picture, payload: ImageResize, path: str, box: tuple[int, int], files: Files, context: Context
) -> dict[str, Any]:
    form = picture.kept_format if payload.format == "keep" else payload.format
    path = f"{path}.{EXTENSIONS[form]}"
    with files.create(path, f"{context.task_id}") as file:
        width, height = picture.write(file.stream, payload.fit, box, form, payload.quality)
    return {"path": path, "width": width, "height": height, "bytes": file.bytes}
