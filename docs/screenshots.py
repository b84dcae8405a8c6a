"""Take pictures of the MLflow pages that `hyperskin ui` serves; needs Chromium, run while the pages are up.

python docs/screenshots.py http://127.0.0.1:5000 docs/pictures
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websockets

WIDTH, HEIGHT = 1600, 1000
SETTLE_S = 6.0  # the pages load in pieces and draw with a delay
CLOSE_ASSISTANT = "document.querySelector('[data-component-id=\"mlflow.assistant.chat_panel.close\"]')?.click()"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


def pages(address: str) -> dict[str, str]:
    """Return the pages worth a picture, by the name of the picture."""
    experiment = ask(address, "experiments/get-by-name?experiment_name=hyperskin")["experiment"]["experiment_id"]
    found = ask(address, "runs/search", {"experiment_ids": [experiment], "filter": "params.pair = 'rgb_vis'"})
    networks = [run for run in found["runs"] if not run["info"]["run_name"].startswith("regression")]
    runs = json.dumps([run["info"]["run_id"] for run in networks])
    mode = "workflowType=machine_learning"
    experiments = f"{address}/#/experiments/{experiment}/runs?{mode}&viewStateShareKey="
    return {
        "runs": f"{experiments}scores",
        "charts": f"{experiments}rgb_vis&compareRunsMode=CHART",
        "compare": f'{address}/#/compare-runs?runs={runs}&experiments=["{experiment}"]&{mode}',
        "registry": f"{address}/#/models/hyperskin-rgb-vis?{mode}",
    }


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer of MLflow's REST interface."""
    data = None if body is None else json.dumps(body).encode()
    url = f"{address}/api/2.0/mlflow/{path}"
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
        return json.load(answer)


async def photograph(browser_address: str, wanted: dict[str, str], folder: Path) -> None:
    """Open each page in turn and keep what it shows."""
    async with websockets.connect(browser_address, max_size=None) as socket:
        numbers = itertools.count(1)

        async def send(method: str, session: str = "", **arguments: Any) -> dict[str, Any]:
            number = next(numbers)
            message = {"id": number, "method": method, "params": arguments}
            await socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
            while True:
                answer = json.loads(await socket.recv())
                if answer.get("id") == number:
                    return answer["result"]

        for name, url in wanted.items():
            target = (await send("Target.createTarget", url="about:blank"))["targetId"]
            session = (await send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
            size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            await send("Emulation.setDeviceMetricsOverride", session, **size)
            await send("Page.navigate", session, url=url)
            await asyncio.sleep(SETTLE_S / 2)
            await send("Runtime.evaluate", session, expression=CLOSE_ASSISTANT)
            await asyncio.sleep(SETTLE_S / 2)
            picture = await send("Page.captureScreenshot", session, format="png")
            (folder / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))
            await send("Target.closeTarget", targetId=target)
            sys.stdout.write(f"{folder / name}.png\n")


def start_browser(profile: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start Chromium with a fresh profile; return it and the address it can be steered at."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        sys.exit(f"One of {', '.join(CHROMIUM)} must be installed.")
    command = [program, *OPTIONS, f"--user-data-dir={profile}"]
    browser = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - a list of words that we chose
    port_file = Path(profile) / "DevToolsActivePort"
    while not port_file.exists() or len(port_file.read_text().split()) < 2:
        time.sleep(0.1)
    port, path = port_file.read_text().split()
    return browser, f"ws://127.0.0.1:{port}{path}"


def main() -> None:
    """Take all pictures."""
    address, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser, browser_address = start_browser(profile)
        try:
            asyncio.run(photograph(browser_address, pages(address), folder))
        finally:
            browser.terminate()
            browser.wait()


if __name__ == "__main__":
    main()
