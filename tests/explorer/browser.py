"""A headless Chromium, spoken to over its DevTools protocol; needs tornado, which Panel brings, and nothing else."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from itertools import count
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""The browser, None where there is none."""


class Browser:
    """One page of a headless browser."""

    async def __aenter__(self):
        from tornado.websocket import websocket_connect

        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # its children still write as it ends
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={self.folder.name}", "--no-first-run", "--window-size=1100,1700", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = await within(60, lambda: self._port())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**28)
        self.numbers, self.requests = count(1), []
        for domain in ("Page", "Runtime", "Network"):
            await self.send(f"{domain}.enable")
        return self

    async def __aexit__(self, *_):
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def _port(self):
        written = Path(self.folder.name) / "DevToolsActivePort"
        return int(written.read_text().split()[0]) if written.exists() and written.read_text() else None

    async def send(self, method, **parameters):
        """One command; addresses that the page asks for meanwhile are kept in `requests`."""
        number = next(self.numbers)
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self.socket.read_message())
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def run(self, script):
        """The value of a JavaScript expression, awaited."""
        found = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def picture(self, path):
        import base64

        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))


async def within(seconds, question):
    """The first true answer to `question`, asked again until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        answer = await answer if asyncio.iscoroutine(answer) else answer
        if answer:
            return answer
        await asyncio.sleep(0.1)
    raise TimeoutError(f"nothing within {seconds} seconds")
