"""The page in a real browser: headless Chromium, spoken to over a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siglum.benchmarks.report import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
FLAGS += ["--disable-dev-shm-usage", "--mute-audio", "--force-device-scale-factor=1"]

# The browser reads commands from 3 and writes answers to 4.
LAUNCH = """import os, sys
for target, source in zip((3, 4), [os.dup(int(fd)) for fd in sys.argv[1:3]]):
    os.dup2(source, target)
    os.set_inheritable(target, True)
os.execv(sys.argv[3], sys.argv[3:])"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)")


class Browser:
    """One tab of a headless Chromium.

    Parameters
    ----------
    profile
        New, empty folder.
    """

    def __init__(self, profile: Path) -> None:
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()

        flags = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(commands), str(answers), str(CHROMIUM), *flags],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer, self._number, self._session = b"", 0, ""
        self.troubles: list[str] = []
        self.loaded = False
        targets: list[dict[str, Any]] = []
        for _ in range(50):
            targets = self.call("Target.getTargets")["targetInfos"]
            targets = [target for target in targets if target["type"] == "page"]
            if targets:
                break
            time.sleep(0.1)
        found = self.call("Target.attachToTarget", targetId=targets[0]["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser is gone"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        event = json.loads(line)
        method, about = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.troubles.append(str(about["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.troubles.append(str(about["entry"])[:500])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.troubles.append(str(about["args"])[:500])
        elif method == "Network.requestWillBeSent" and about["request"]["url"].startswith(("http", "ws")):
            self.troubles.append(f"asked the network for {about['request']['url']}")
        return event

    def open(self, path: Path, width: int, height: int, scheme: str = "light") -> None:
        self.troubles.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._next()

    def run(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, name: str) -> None:
        text = {"text": name} if len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=name, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=name)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, make_images: Any, make_sounds: Any, make_media: Any, write: Any
) -> Path:
    folder = tmp_path_factory.mktemp("page")
    codecs = [("image", 0.7, 2.0, 3.0), ("jpeg", 1.0, 50.0, 90.0), ("w" * 70, 0.8, 4.0, 70.0)]
    rows = make_images(3, codecs, 4) + make_sounds(2)[1:]
    data, kept = make_media(folder, rows)
    rows[0]["run"]["data"][0]["path"] = str(data)
    name = "<img src=x onerror=console.error(1)>"
    rows.append({"item": name, "codec": "a" * 60, "failure": {"stage": "decode", "message": "b" * 300}})
    render(write(folder / "rows.jsonl", rows), folder / "report.html", keep=kept, embed=False)
    return folder / "report.html"


SHOWN = """(selector) => Array.from(document.querySelectorAll(selector)).filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width > 8 && box.height > 8 && getComputedStyle(one).visibility === "visible";
}).length"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_the_page_shows_what_it_should(
    browser: Browser, page: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.open(page, *size, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= size[0]
    visible = {
        "#verdict .lead": 2,
        "#failures td.message": 1,
        "svg.plot": 3 + 1 + 3 + 1,
        "table.bd": 2,
        "[data-viewer] .canvas img": 2,
        ".spectrum img": 3,
        "#image-health table": 1,
    }
    for selector, count in visible.items():
        assert browser.run(f"({SHOWN})({json.dumps(selector)})") == count, selector
    assert browser.run("Array.from(document.images).every((one) => one.complete && one.naturalWidth > 0)")
    browser.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        corner = image.convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert corner > 200 if scheme == "light" else corner < 60
    assert browser.troubles == []


def test_one_can_work_it(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    choose = """(selector, value) => { const one = document.querySelector(selector); one.value = value;
      one.dispatchEvent(new Event("change")); }"""
    image = '[data-medium="image"]'
    browser.run(f"({choose})('{image} [data-choose=anchor]', '{'w' * 70}')")
    shown = f"Array.from(document.querySelectorAll('{image} .bd caption')).filter((one) => one.offsetParent)"
    assert browser.run(f"{shown}.map((one) => one.textContent).join()") == "Against " + "w" * 70

    browser.run(f"document.querySelector('{image} svg.wide').focus()")
    browser.key("ArrowRight")
    first = browser.run("document.getElementById('tip').textContent")
    assert first.startswith("image, setting")
    browser.key("ArrowDown")
    assert browser.run("document.getElementById('tip').textContent").startswith("jpeg, setting")

    table = f"{image} .items:not([hidden])"
    browser.run(f"document.querySelector('{table} th:nth-child(2) button').click()")
    values = browser.run(
        f"Array.from(document.querySelectorAll('{table} tbody tr')).map((row) => row.cells[1].textContent)"
    )
    numbers = [float(value.replace("−", "-")) for value in values]
    assert numbers == sorted(numbers, reverse=True)

    assert "bpp" in browser.run("document.querySelector('[data-v=note]').textContent")
    browser.run("document.querySelector('[data-v=stage]').focus()")
    for key, mode in (("2", "flicker"), ("3", "difference"), ("4", "side"), ("1", "slider")):
        browser.key(key)
        assert mode in browser.run("document.querySelector('[data-v=stage]').className").split()
    before = browser.run("document.querySelector('[data-v=canvas]').style.getPropertyValue('--cut')")
    browser.key("ArrowLeft")
    assert browser.run("document.querySelector('[data-v=canvas]').style.getPropertyValue('--cut')") != before

    assert browser.run("document.querySelector('[data-p=item]').selectedOptions[0].text").endswith(
        "8 kHz, mono"
    )
    assert (
        browser.run("document.querySelector('[data-p=rate]').selectedIndex") > 0
    )  # neither the worst nor the best
    browser.run("document.querySelector('[data-p=voices] button').focus()")
    browser.key("3")
    assert browser.run("document.querySelector('[aria-checked=true]').textContent").startswith("3 ")
    browser.run("document.querySelector('[data-p=play]').click()")
    moved = (
        "new Promise((done) => setTimeout(() => done(document.querySelector('[data-p=seek]').value), 900))"
    )
    assert int(browser.run(moved)) > 0

    browser.run(f"({choose})('#theme', 'dark')")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    browser.run(f"({choose})('#theme', '')")
    assert browser.troubles == []


def test_without_scripts_and_on_paper_it_can_be_read(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, 1280, 900)
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.call("Page.printToPDF", printBackground=True)["data"]
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.troubles == []
