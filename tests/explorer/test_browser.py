"""The explorer in a real browser: choose, see the picture change, copy; nothing comes from the network."""

import asyncio
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.site

from browser import CHROMIUM, Browser, within  # noqa: E402

SET = """(() => {{
    for (const model of Bokeh.documents[0]._all_models.values())
        if (model.name === {name!r} || model.title === {name!r} || model.label === {name!r}) {{
            model.value = {value!r}; return true }}
    return false }})()"""
TEXTS = """Array.from(Bokeh.documents[0]._all_models.values()).filter(m => m.type.endsWith('TextAreaInput'))
    .map(m => m.value)"""
SHOWN = """Array.from(Bokeh.documents[0]._all_models.values()).filter(m => m.type.endsWith('HTML')).map(m => m.text)"""
CLICK = """(() => {{
    const walk = root => {{
        for (const node of root.querySelectorAll('*')) {{
            if (node.tagName === 'BUTTON' && node.textContent.includes({name!r})) return node
            const found = node.shadowRoot && walk(node.shadowRoot)
            if (found) return found
        }}
    }}
    walk(document).click(); return true }})()"""


@pytest.fixture
def address():
    command = [sys.executable, "-m", "alliance_stats", "explore", "data/simulated_study.toml", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
        server.terminate()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (the Debian package chromium)")
def test_choose_see_copy(address):
    asyncio.run(choose_see_copy(address))


async def choose_see_copy(address):
    async with Browser() as page:
        await within(30, lambda: answers(address))
        await page.send("Page.navigate", url=address)
        await within(60, lambda: page.run("!!(window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].roots)"))
        await within(60, lambda: has(page, SHOWN, "patients with a repaired rupture"))  # counted against chance
        before, (toml, _) = pictures(await page.run(SHOWN)), await page.run(TEXTS)
        assert 'rule = "running_mean_2pooled"' in toml
        assert len(before) == 2

        assert await page.run(SET.format(name="by at least", value=1.25))
        await within(60, lambda: has(page, TEXTS, "size = 1.25"))
        after = await within(60, lambda: changed(page, before))
        assert not set(before) & set(after), "both pictures change with the rule"
        assert "Why?" in " ".join(await page.run(SHOWN))

        origin = address.rstrip("/")
        await page.send(
            "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
        )
        await page.send("Page.bringToFront")
        await page.run(CLICK.format(name="Copy TOML"))
        copied = await within(20, lambda: page.run("navigator.clipboard.readText()"))
        assert copied.startswith("[detect]")
        assert "size = 1.25" in copied
        shown = " ".join(await page.run(SHOWN)) + str(await page.run("document.title"))
        assert not re.search(r"\bp\d{3}\b", shown), "ids of the study file are not shown"
        hosts = {urlsplit(url).hostname for url in page.requests if url.startswith(("http", "ws"))}
        assert hosts == {"127.0.0.1"}


def answers(address):
    import urllib.error
    import urllib.request

    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except urllib.error.URLError:
        return False


def pictures(texts):
    return [text for text in texts if "image/png" in text]


async def has(page, script, words):
    return any(words in text for text in await page.run(script))


async def changed(page, before):
    now = pictures(await page.run(SHOWN))
    return now if len(now) == 2 and not set(now) & set(before) else None
