"""docs/ as a site, with Sphinx: `python -m ops.site build [DIRECTORY]`, `python -m ops.site serve [--port N]`.

A warning is an error: a broken link, a page that the navigation lacks. Nothing is fetched from another host.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
LOOK_SECONDS = 0.5


def build(directory: Path, docs: Path = DOCS) -> int:
    """Build into `directory`, which keeps what makes the next build quick; returns Sphinx's exit code."""
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", str(directory / ".doctrees")]
    return subprocess.run([sys.executable, "-m", "sphinx", *options, str(docs), str(directory)], check=False).returncode


def serve(directory: Path, port: int) -> None:
    """Show the site on loopback until Ctrl-C, and build it again when a page changes."""
    build(directory)
    handler = functools.partial(QuietHandler, directory=str(directory))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        sys.exit(f"error: Port {port} cannot be used ({error.strerror}); --port takes another.")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]} shows the site; Ctrl-C ends it.", flush=True)
    seen = changed_at()
    try:
        while True:
            time.sleep(LOOK_SECONDS)
            if (now := changed_at()) != seen:
                seen = now
                print("built again" if build(directory) == 0 else "not built: see above", flush=True)
    except KeyboardInterrupt:
        server.shutdown()


def changed_at() -> dict[Path, float]:
    """When each page was written last."""
    return {path: path.stat().st_mtime for path in (*DOCS.glob("*.md"), DOCS / "conf.py") if path.exists()}


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="ops/docs", description="docs/ as a site.")
    commands = parser.add_subparsers(dest="command")
    building = commands.add_parser("build", help="build it (the default); any warning is an error")
    building.add_argument("directory", nargs="?", type=Path, default=SITE)
    serving = commands.add_parser("serve", help="build it, show it on this machine and build again what changes")
    serving.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if arguments.command == "serve":
        serve(SITE, arguments.port)
        return 0
    directory: Path = getattr(arguments, "directory", SITE)
    code = build(directory)
    if code == 0:
        print(f"{directory / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
