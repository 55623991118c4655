"""Images that Pillow makes, resized from files and from a real server on the loopback interface."""

from __future__ import annotations

import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from taskflow.errors import DeadLetter, InvalidPayload, Retry
from taskflow.handlers import image_resize
from taskflow.handlers._download import DownloadFailed
from taskflow.tasks.registry import registry

Resize = Callable[..., dict[str, Any]]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKFLOW_FILES_ROOT", str(tmp_path))
    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.0/8")
    return tmp_path


@pytest.fixture
def resize(run: Callable[..., Any], root: Path) -> Resize:
    """With a source in the file `in`, unless it is said to be elsewhere."""

    def resize(*boxes: tuple[int | None, int | None], **payload: Any) -> dict[str, Any]:
        sizes = [{k: v for k, v in zip(("width", "height"), box, strict=True) if v is not None} for box in boxes]
        source = {} if "url" in payload else {"path": "in"}
        result: dict[str, Any] = run("image_resize", {"sizes": sizes, **source, **payload})
        return result

    return resize


def halves(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new(mode, (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def is_like(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=False))


def test_each_size_is_a_file_and_the_result_lists_them(resize: Resize, root: Path) -> None:
    halves(800, 400).save(root / "in", "PNG")
    result = resize((200, 200), (None, 100), (4000, 4000))
    assert result["source"] == {"format": "png", "width": 800, "height": 400}
    assert [(file["path"], file["width"], file["height"]) for file in result["files"]] == [
        ("images/4711/200x200.png", 200, 100),
        ("images/4711/x100.png", 200, 100),
        ("images/4711/4000x4000.png", 800, 400),
    ]
    for file in result["files"]:
        content = (root / file["path"]).read_bytes()
        assert len(content) == file["bytes"]
        with Image.open(BytesIO(content)) as made:
            assert (made.format, made.size) == ("PNG", (file["width"], file["height"]))
            assert is_like(made.getpixel((2, 2)), RED)
            assert is_like(made.getpixel((made.width - 3, 2)), BLUE)


def test_cover_fills_the_box_and_contain_leaves_a_margin(resize: Resize, root: Path) -> None:
    halves(800, 400).save(root / "in", "PNG")
    covered = resize((100, 100), fit="cover", directory="covered")["files"][0]
    contained = resize((100, 100), fit="contain", directory="contained")["files"][0]
    assert [(file["width"], file["height"]) for file in (covered, contained)] == [(100, 100), (100, 100)]
    with Image.open(root / covered["path"]) as image:
        assert is_like(image.getpixel((2, 2)), RED)
        assert is_like(image.getpixel((97, 97)), BLUE)
    with Image.open(root / contained["path"]) as image:
        assert is_like(image.getpixel((50, 2)), (255, 255, 255))
        assert is_like(image.getpixel((2, 50)), RED)


def test_a_photo_is_turned_as_it_was_held_and_tells_nothing_of_where(resize: Resize, root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # GPS latitude
    halves(2000, 1000).save(root / "in", "JPEG", exif=exif, comment=b"at home", quality=95)
    result = resize((100, 100))
    assert result["source"] == {"format": "jpeg", "width": 1000, "height": 2000}
    content = (root / result["files"][0]["path"]).read_bytes()
    assert b"Maker" not in content
    assert b"Exif" not in content
    assert b"at home" not in content
    with Image.open(BytesIO(content)) as made:
        assert (made.format, made.size, dict(made.getexif())) == ("JPEG", (50, 100), {})
        assert is_like(made.getpixel((25, 3)), RED)  # what was left is above
        assert is_like(made.getpixel((25, 96)), BLUE)


@pytest.mark.parametrize(
    ("source", "kept"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "png"), ("BMP", "png")]
)
def test_the_format_is_kept_or_changed(resize: Resize, root: Path, source: str, kept: str) -> None:
    halves(64, 64).save(root / "in", source)
    made = [resize((32, 32), format=form)["files"][0]["path"] for form in ("keep", "jpeg", "png", "webp")]
    assert [path.rpartition(".")[2] for path in made] == [kept, "jpg", "png", "webp"]
    for path, form in zip(made[1:], ("JPEG", "PNG", "WEBP"), strict=True):
        with Image.open(root / path) as image:
            assert (image.format, image.size) == (form, (32, 32))
            assert is_like(image.convert("RGB").getpixel((4, 16)), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_of_pixels_becomes_an_image_in_every_format(resize: Resize, root: Path, mode: str) -> None:
    if mode == "I;16":
        Image.new(mode, (40, 20), 0x8000).save(root / "in", "PNG")
    else:
        halves(40, 20).convert(mode).save(root / "in", "JPEG" if mode == "CMYK" else "PNG")
    for form in ("jpeg", "png", "webp"):
        for fit in ("fit", "cover", "contain"):
            file = resize((10, 10), format=form, fit=fit)["files"][0]
            with Image.open(root / file["path"]) as image:
                assert image.size == ((10, 5) if fit == "fit" else (10, 10))
    if mode == "I;16":
        with Image.open(root / file["path"]) as image:
            assert is_like(image.convert("RGB").getpixel((5, 5)), (128, 128, 128))


def test_transparency_stays_and_is_white_where_there_can_be_none(resize: Resize, root: Path) -> None:
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(root / "in", "PNG")
    for form, expected in (("png", 0), ("webp", 0)):
        with Image.open(root / resize((10, 10), format=form)["files"][0]["path"]) as image:
            assert image.getpixel((5, 5))[3] == expected
    with Image.open(root / resize((10, 10), format="jpeg")["files"][0]["path"]) as image:
        assert is_like(image.getpixel((5, 5)), (255, 255, 255))


def test_quality_is_obeyed_and_names_are_used(resize: Resize, run: Callable[..., Any], root: Path) -> None:
    Image.effect_noise((300, 300), 80).save(root / "in", "PNG")
    sizes = [resize((200, 200), format="jpeg", quality=quality)["files"][0]["bytes"] for quality in (10, 50, 95)]
    assert sizes == sorted(set(sizes))
    payload = {"path": "in", "sizes": [{"width": 9, "name": "thumb"}], "directory": "a/b"}
    assert run("image_resize", payload)["files"][0]["path"] == "a/b/thumb.png"


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that says that it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_they_are_unpacked(
    resize: Resize, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "in").write_bytes(bomb(100_000, 100_000))
    with pytest.raises(
        DeadLetter, match=r"100000 x 100000 pixels, more than the 64,000,000 of TASKFLOW_IMAGE_MAX_PIXELS"
    ):
        resize((10, 10))
    halves(100, 100).save(root / "in", "PNG")
    monkeypatch.setenv("TASKFLOW_IMAGE_MAX_PIXELS", "9999")
    with pytest.raises(DeadLetter, match="TASKFLOW_IMAGE_MAX_PIXELS"):
        resize((10, 10))
    monkeypatch.setenv("TASKFLOW_IMAGE_MAX_PIXELS", "10000")
    assert resize((10, 10))["files"][0]["width"] == 10


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", bomb(1000, 1000)]
)
def test_what_is_no_image_or_a_broken_one_is_final(resize: Resize, root: Path, content: bytes) -> None:
    (root / "in").write_bytes(content)
    with pytest.raises(DeadLetter, match=r"no image that can be read here|the image is broken"):
        resize((10, 10))


def test_half_a_photo_is_broken_and_leaves_no_file(resize: Resize, root: Path) -> None:
    halves(300, 300).save(root / "in", "JPEG")
    (root / "in").write_bytes((root / "in").read_bytes()[:1500])
    with pytest.raises(DeadLetter, match="the image is broken"):
        resize((10, 10))
    assert not (root / "images").exists()


@pytest.mark.parametrize(
    "payload",
    [
        {"sizes": [{"width": 1}]},
        {"path": "in", "url": "http://localhost/", "sizes": [{"width": 1}]},
        {"path": "../in", "sizes": [{"width": 1}]},
        {"path": "in", "directory": "/tmp", "sizes": [{"width": 1}]},
        {"url": "file:///etc/passwd", "sizes": [{"width": 1}]},
        {"path": "in", "sizes": []},
        {"path": "in", "sizes": [{}]},
        {"path": "in", "sizes": [{"width": 0}]},
        {"path": "in", "sizes": [{"width": 10_001}]},
        {"path": "in", "sizes": [{"width": 1, "name": "../x"}]},
        {"path": "in", "sizes": [{"width": 1}, {"width": 1}]},
        {"path": "in", "sizes": [{"width": 1}], "fit": "cover"},
        {"path": "in", "sizes": [{"width": 1}], "quality": 101},
        {"path": "in", "sizes": [{"width": 1}], "format": "tiff"},
    ],
)
def test_a_payload_that_makes_no_sense_is_refused(run: Callable[..., Any], payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        run("image_resize", payload)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, tuple[int, dict[str, str], bytes]]]]:
    """The URL of a server, and what it answers by path."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[self.path.partition("?")[0]]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.0/8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", answers
        running.shutdown()
        thread.join()


def test_an_image_is_fetched_from_a_public_address_or_one_that_is_allowed(
    resize: Resize, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKFLOW_WEBHOOK_ALLOW")
    with pytest.raises(DeadLetter, match="TASKFLOW_WEBHOOK_ALLOW"):
        resize((20, 20), url=f"{server[0]}/image")


def test_an_image_is_fetched_redirects_included(resize: Resize, server: Any) -> None:
    url, answers = server
    content = BytesIO()
    halves(80, 40).save(content, "PNG")
    answers["/old"] = (302, {"Location": "/image"}, b"")
    answers["/image"] = (200, {}, content.getvalue())
    result = resize((20, 20), url=f"{url}/old?token=1")
    assert result["source"] == {"format": "png", "width": 80, "height": 40}


def test_what_cannot_be_fetched_is_final_or_tried_again_as_the_answer_says(resize: Resize, server: Any) -> None:
    url, answers = server
    answers["/404"], answers["/500"] = (404, {}, b"no"), (500, {}, b"")
    answers["/503"] = (503, {"Retry-After": "30"}, b"")
    expected = {"/404": DeadLetter, "/500": DownloadFailed, "/503": Retry}
    for path, error in expected.items():
        with pytest.raises(error, match=f"127.0.0.1:[0-9]+ answered {path[1:]}") as caught:
            resize((10, 10), url=f"{url}{path}?token=s3cret")
        assert "s3cret" not in str(caught.value)
    with pytest.raises(DownloadFailed, match="failed"):
        resize((10, 10), url="http://127.0.0.1:1/")
    with pytest.raises(DeadLetter, match="not valid"):
        resize((10, 10), url="http://[::1/")


def test_an_answer_that_is_too_long_is_read_no_further(
    resize: Resize, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = server
    monkeypatch.setattr(image_resize, "MAX_BYTES", 100_000)
    answers["/large"] = (200, {}, b"x" * 50_000_000)
    with pytest.raises(DeadLetter, match="more than 100,000 bytes"):
        resize((10, 10), url=f"{url}/large")


def test_without_the_library_the_error_names_the_extra(resize: Resize, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "taskflow.handlers._pictures", raising=False)
    with pytest.raises(DeadLetter, match=r"pip install 'taskflow-pg\[images\]'"):
        resize((10, 10))


def test_it_runs_in_a_process_of_its_own() -> None:
    assert registry.get("image_resize").isolation == "process"
