"""The built documentation: no link is dead, and nothing is fetched from elsewhere."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.site
SITE = Path(__file__).parents[2] / "docs" / "_build"


class Page(HTMLParser):
    """What a page links to, fetches, and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.fetched, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in ("img", "script") and found.get("src"):
            self.fetched.append(found["src"])
        elif tag == "link" and found.get("href") and found.get("rel") in ("stylesheet", "preload"):
            self.fetched.append(found["href"])


def test_no_link_is_dead_and_nothing_is_fetched_from_elsewhere():
    if not (SITE / "index.html").exists():
        pytest.skip("run `make docs` first")
    pages = {path.resolve(): Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}
    dead, elsewhere = [], []
    for path, page in pages.items():
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                elsewhere += [link] if link in page.fetched and parts.scheme != "data" else []
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append(f"{path.name}: {link}")
    assert not dead, dead[:20]
    assert not elsewhere, elsewhere[:20]
