"""An image in memory, and its copies in other sizes. Needs Pillow: import this module where it is used."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from taskflow import DeadLetter

# Decoders that are known to be sound: not EPS, which runs a program, nor the many that nobody looks after.
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
WRITABLE = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}  # MPO: JPEG with a second image behind
MAX_PROFILE_BYTES = 1024 * 1024
WHITE = (255, 255, 255)
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, ZeroDivisionError)

Box = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """`width` and `height` are those of the source as it is to be looked at; `format` is its name in lower case."""

    image: Image.Image
    format: str
    width: int
    height: int
    profile: bytes | None

    @classmethod
    def read(cls, stream: BinaryIO, max_pixels: int, boxes: list[Box]) -> Picture:
        """Decode the image, its first frame if it is animated, large enough for the boxes.

        Raises `DeadLetter` for what is no image of the five kinds, a broken one, or one with more than `max_pixels`:
        their number stands in the first bytes, so that nothing is unpacked of one that is too large.
        """
        Image.MAX_IMAGE_PIXELS = None  # there is a limit of our own
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(stream, formats=READABLE) as opened:
                    return cls._decoded(opened, max_pixels, boxes)
        except UnidentifiedImageError:
            raise DeadLetter(f"it is no image that can be read here: {', '.join(READABLE)}") from None
        except BROKEN as error:
            raise DeadLetter(f"the image is broken: {error}") from error

    @classmethod
    def _decoded(cls, opened: Image.Image, max_pixels: int, boxes: list[Box]) -> Picture:
        width, height = opened.size
        if width * height > max_pixels:
            raise DeadLetter(
                f"the image has {width} x {height} pixels, more than the {max_pixels:,} of TASKFLOW_IMAGE_MAX_PIXELS"
            )
        form = opened.format or ""
        turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        # JPEG can be unpacked at a half, a quarter, an eighth: still twice as large as needed, for the quality.
        longest = 2 * max(side for box in boxes for side in box)
        opened.draft(None, (longest, longest))
        opened.load()
        image = _plain(ImageOps.exif_transpose(opened))
        profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA", "L") else None
        if profile and len(profile) > MAX_PROFILE_BYTES:
            profile = None
        return cls(image, form.lower(), *((height, width) if turned else (width, height)), profile)

    @property
    def kept_format(self) -> str:
        """What a copy in the same format is written as: GIF and BMP become PNG."""
        return WRITABLE.get(self.format.upper(), "png")

    def write(self, stream: BinaryIO, fit: str, box: Box, form: str, quality: int) -> Box:
        """Write a copy and return its size."""
        image = self._sized(fit, box, form)
        if form == "jpeg":
            image = _on_white(image)
        # The profile says which colours are meant; it is all that is taken along.
        options = {"icc_profile": self.profile} if self.profile else {}
        match form:
            case "jpeg":
                image.save(stream, "JPEG", quality=quality, optimize=True, progressive=True, **options)
            case "webp":
                image.save(stream, "WEBP", quality=quality, **options)
            case _:
                image.save(stream, "PNG", optimize=True, **options)
        return image.size

    def _sized(self, fit: str, box: Box, form: str) -> Image.Image:
        match fit:
            case "cover":
                return ImageOps.fit(self.image, box, Image.Resampling.LANCZOS)
            case "contain":
                margin = (0, 0, 0, 0) if self.image.mode == "RGBA" and form != "jpeg" else WHITE
                image = self.image if self.image.mode != "L" else self.image.convert("RGB")
                return ImageOps.pad(image, box, Image.Resampling.LANCZOS, margin)
            case _:
                scale = min(1.0, box[0] / self.width, box[1] / self.height)
                size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
                return self.image.resize(size, Image.Resampling.LANCZOS)


def _plain(image: Image.Image) -> Image.Image:
    """In one of the modes that every format can be written from: L, RGB, RGBA; without anything beside the pixels."""
    if image.mode.startswith("I"):  # 16 bits: its convert() would cut off all above 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    elif image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    image.info = {}
    return image


def _on_white(image: Image.Image) -> Image.Image:
    """JPEG knows no transparency."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(image, mask=image.getchannel("A"))
    return ground
