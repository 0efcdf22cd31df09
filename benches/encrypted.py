"""What encryption costs: our broker and mosquitto over TLS in turn, with one certificate, version and cipher suite.

    make bench-encrypted                       # everything: five minutes
    make bench-encrypted ARGS='--only tls-q1-*'

The clients are those of `make bench-brokers`, with TLS between them and the broker. They offer one version and one
cipher suite, and each run is void where another one, or none, was agreed on.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import brokers
import report
from brokers import Scenario

#: What is offered, and what has to be agreed on.
AGREED = {"1.3": "TLSv1_3 TLS13_AES_128_GCM_SHA256", "1.2": "TLSv1_2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}
#: Who is measured, and through which of its listeners.
WAYS = {"rmqtt": "mqtts", "mosquitto": "mqtts", "rmqtt-wss": "wss", "rmqtt-plain": "mqtt"}
INTRODUCTION = """\
Medians of {rounds} rounds, the brokers in turn; the generator shares the cores and does its half of the cryptography
there, so rates say little: CPU time is the broker's alone. All have the same throw-away certificate (ECDSA P-256) and
are asked for one version and one cipher suite: `{suite13}`, in the rows of TLS 1.2
`{suite12}`; a run in which anything else was agreed on would be among the failures.
`rmqtt-wss` is our broker with the same in the frames of a WebSocket, `rmqtt-plain` without encryption. Debian's
mosquitto is built without WebSocket, so there is none to compare with. Where clients connect, figures are for each of
them: handshake, CONNECT and SUBSCRIBE; a million divided by the CPU time is how many shake hands in a second of it."""


def _scenario(name: str, about: str, /, *kinds: str, tls: str = "1.3", **options: Any) -> Scenario:
    return Scenario(name=name, about=about, options={"tls": tls, **options}, brokers=kinds or tuple(WAYS))


_BOTH = ("rmqtt", "mosquitto")
SCENARIOS = [
    _scenario("tls-q0-1to1", "QoS 0, 1 → 1, 64 B, bursts: up to 20,000 under way", messages=300_000, window=20_000),
    _scenario("tls-q1-1to1", "QoS 1, 1 → 1, 64 B, 100 in flight", qos=1, messages=120_000),
    _scenario("tls-q0-small", "QoS 0 as above, small records",
              "rmqtt", "mosquitto", "rmqtt-wss", messages=200_000, window=20_000, records=128),
    _scenario("tls-q1-small", "QoS 1 as above, small records",
              "rmqtt", "mosquitto", "rmqtt-wss", qos=1, messages=120_000, records=128),
    _scenario("tls12-q0-1to1", "QoS 0 as above, TLS 1.2", *_BOTH, tls="1.2", messages=300_000, window=20_000),
    _scenario("tls12-q1-1to1", "QoS 1 as above, TLS 1.2", *_BOTH, tls="1.2", qos=1, messages=120_000),
    _scenario("tls-q1-pairs200", "QoS 1, 200 pairs, one in flight each",
              topology="pairs", publishers=200, subscribers=200, qos=1, messages=40_000, window=1),
    _scenario("tls-q0-fanout1000", "QoS 0, 1 → 1,000",
              topology="fan-out", subscribers=1000, messages=400, window=100),
    _scenario("tls-q0-16k", "QoS 0, 1 → 1, 16 KiB", payload=16_384, messages=30_000, window=200),
    _scenario("tls-connect", "2,000 clients connect, subscribe and stay: whole handshakes",
              topology="idle", subscribers=2_000),
    _scenario("tls-resume", "2,000 clients connect, subscribe and stay: all but the first resume its session",
              "rmqtt", "mosquitto", "rmqtt-wss", topology="idle", subscribers=2_000, resume=True),
    _scenario("tls12-connect", "whole handshakes, TLS 1.2", *_BOTH, tls="1.2", topology="idle", subscribers=2_000),
]  # fmt: skip


@functools.cache
def certificates() -> tempfile.TemporaryDirectory[str]:
    """Make an authority and what it has issued to the brokers; it is gone with this process."""
    directory = tempfile.TemporaryDirectory()
    subprocess.run([str(report.LOAD), "certificates", directory.name], check=True)
    return directory


def play(kind: str, scenario: Scenario, scale: float) -> dict[str, Any]:
    """Run one scenario on one broker, by its way."""
    directory, way = Path(certificates().name), WAYS[kind]
    options = dict(scenario.options)
    version = options.pop("tls")
    if way != "mqtt":
        options |= {"tls": version, "ca": directory / "ca.pem", "websocket": way == "wss"}
    if kind == "mosquitto":
        lines = f"certfile {directory}/server.pem\nkeyfile {directory}/server.key\nuser root\n"
        started = brokers.broker(kind, (), lines)
    else:
        started = brokers.broker("rmqtt", (f"--certificates={directory}",))
    with started as (port, pid, ask):
        ports = ask().get("ports", {way: port})
        result = brokers.generate(scenario.mode, ports[way], pid, brokers.scaled(options, scale))
    agreed = AGREED[version] if way != "mqtt" else "nothing"
    if result["agreed"] != agreed:
        raise report.RunError(f"{result['agreed']} was agreed on instead of {agreed}")
    if "connects" in result and result["resumed"] != (result["connects"] - 1 if options.get("resume") else 0):
        raise report.RunError(f"{result['resumed']} of {result['connects']} connections resumed a session")
    return result


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="scenarios whose names match one of these patterns, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="times so many messages")
    parser.add_argument("--brokers", default=",".join(WAYS), help="which, in this order (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="for a glance: one round, few messages")
    parser.add_argument("--out", type=Path, help="where page and raw figures go; else the page is printed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.scale = 1, 0.1
    where = report.machine()
    patterns = arguments.only.split(",")
    scenarios = [s for s in SCENARIOS if any(fnmatch.fnmatch(s.name, pattern) for pattern in patterns)]
    measured = brokers.measure(scenarios, arguments.brokers.split(","), arguments.rounds, arguments.scale, play)
    introduction = INTRODUCTION.format(rounds=arguments.rounds, suite13=AGREED["1.3"], suite12=AGREED["1.2"])
    page = [
        "# Encrypted",
        report.about(where, "make bench-encrypted"),
        introduction,
        brokers.table(scenarios, measured["figures"], brokers.MAIN_COLUMNS),
        *brokers.failures(measured),
    ]
    measured |= {"machine": where, "rounds": arguments.rounds}
    report.publish(arguments.out, "encrypted", "\n\n".join(page) + "\n", measured, {})


if __name__ == "__main__":
    main()
