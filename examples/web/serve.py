"""A page in a browser as an MQTT client: readings as they come, and a value to set.

Run it and open the address it prints. The broker, a plant that heats and cools, and the page's web server are all in
this process. The page speaks MQTT over WebSocket with MQTT.js, which it takes from ``--mqtt-js FILE`` or, without, from
a public address. The broker lets the page in because it comes from this machine; one from elsewhere would have to be
named: ``rmqtt.Listener(url, origins=["https://app.example"])``.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import http.server
import threading
from pathlib import Path
from typing import ClassVar

import rmqtt

HERE = Path(__file__).parent
MQTT_JS = "https://unpkg.com/mqtt@5/dist/mqtt.min.js"


class Page(http.server.BaseHTTPRequestHandler):
    """Serve three things, and nothing else: the page, MQTT.js, and where the broker is."""

    broker_url: ClassVar[str]

    def __init__(self, mqtt_js: Path | None, *arguments: object) -> None:
        self.mqtt_js = mqtt_js
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/":
            self.say("text/html; charset=utf-8", (HERE / "index.html").read_bytes())
        elif self.path == "/broker":
            self.say("text/plain; charset=utf-8", self.broker_url.encode())
        elif self.path == "/mqtt.min.js" and self.mqtt_js is not None:
            self.say("text/javascript; charset=utf-8", self.mqtt_js.read_bytes())
        elif self.path == "/mqtt.min.js":
            self.send_response(302)
            self.send_header("Location", MQTT_JS)
            self.end_headers()
        else:
            self.send_error(404)

    def say(self, kind: str, body: bytes) -> None:
        """Answer with this."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


async def plant(client: rmqtt.Client, seconds_between: float) -> None:
    """Drift towards the wanted temperature, and tell the present one."""
    temperature = 18.0
    async with client.subscribe("plant/7/wanted", qos=1, overflow="latest") as wanted:
        target = 21.0
        while True:
            if (message := wanted.get_nowait()) is not None:
                target = float(message.text())
            temperature += (target - temperature) * 0.1
            await client.publish("plant/7/temperature", f"{temperature:.2f}")
            await asyncio.sleep(seconds_between)


async def main() -> None:
    """Run broker, plant and web server until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="of the page; 0: any free one")
    parser.add_argument("--broker-port", type=int, default=0, help="of the broker; 0: any free one")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between readings")
    parser.add_argument("--mqtt-js", type=Path, help="mqtt.min.js of the package mqtt of npm")
    options = parser.parse_args()

    async with rmqtt.Broker(f"ws://127.0.0.1:{options.broker_port}/mqtt") as broker, broker.client() as client:
        Page.broker_url = broker.url
        server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), functools.partial(Page, options.mqtt_js))
        with server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print(f"open http://127.0.0.1:{server.server_port}/", flush=True)
            try:
                await plant(client, options.every)
            finally:
                server.shutdown()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("stopped")
