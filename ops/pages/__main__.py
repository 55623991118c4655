"""`ops/generate-docs`: writes the pages, or with --check says which are not what they would be made to be."""

import sys
from pathlib import Path

from ops.pages import PAGES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    only_check = "--check" in sys.argv
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not only_check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name}: {'is not current, run ops/generate-docs' if only_check else 'written'}")
    return 1 if stale and only_check else 0


if __name__ == "__main__":
    sys.exit(main())
