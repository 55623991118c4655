"""docs/ is a site: it is built without a warning, its links lead somewhere, and it needs no other host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.forked import UNMEASURED

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ENVIRONMENT = {**os.environ, **UNMEASURED}


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    """What `ops/docs build` runs, in the Python of the tests."""
    command = [sys.executable, "-m", "ops.site", "build", str(directory)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    directory = tmp_path_factory.mktemp("site")
    done = build(directory)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return directory


class Page(HTMLParser):
    """What a page refers to, what it loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value for name, value in attrs if value}
        if "id" in named:
            self.ids.add(str(named["id"]))
        if tag == "a" and "href" in named:
            self.links.append(str(named["href"]))
        elif tag == "link" and named.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.loaded.append(str(named["href"]))
        elif "src" in named:
            self.loaded.append(str(named["src"]))


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.glob("*.html")):
        yield path, Page(path)


def test_every_page_of_the_docs_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    navigation = set(re.findall(r'class="reference internal" href="([\w-]+)\.html"', (site / "index.html").read_text()))
    names = {path.stem for path in DOCS.glob("*.md")}
    assert len(names) > 12
    assert {path.stem for path in site.glob("*.html")} >= names
    assert navigation >= names - {"index"}


def test_every_link_of_the_site_leads_to_a_page_and_a_place_in_it(site: Path) -> None:
    found = dict(pages(site))
    for path, page in found.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in found:
                assert unquote(parts.fragment) in found[target].ids, f"{path.name}: {link}"


def test_a_reader_without_the_internet_sees_the_whole_site(site: Path) -> None:
    for path, page in pages(site):
        assert [address for address in page.loaded if urlsplit(address).netloc] == [], path.name
        for address in page.loaded:
            assert (path.parent / urlsplit(address).path).exists(), f"{path.name}: {address}"
    for style in site.glob("_static/**/*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_a_broken_link_a_missing_place_and_a_page_outside_the_navigation_fail_the_build(tmp_path: Path) -> None:
    shutil.copy(DOCS / "conf.py", tmp_path)
    (tmp_path / "index.md").write_text("# Here\n\n[gone](gone.md), [no such place](#nowhere)\n")
    (tmp_path / "lonely.md").write_text("# Nobody knows me\n")
    script = f"import sys; from pathlib import Path; from ops.site import build; p = Path({str(tmp_path)!r})"
    command = [sys.executable, "-c", f"{script}; sys.exit(build(p / 'site', p))"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode != 0
    for complaint in ("target not found: 'gone.md'", "'nowhere'", "lonely.md: WARNING: document isn't included in any"):
        assert complaint in done.stderr
