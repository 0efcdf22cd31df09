"""What each bad input costs the broker, beside what an honest connection costs it in the same run.

make bench-bad-inputs
make bench-bad-inputs ARGS='--count 100'

The numbers are those of `docs/hardening.md`, which names the test of each.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import encrypted
import report
from bad_frames import BINARY, HALF_A_GREETING, REQUEST, TEXT, bomb, encrypt, fragments, frame, has_ended, upgrade
from bad_frames import PING as WS_PING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Slow connections beside an honest one.
SLOW = 5000
KILOBYTE = b"x" * 1000
PING, PONG = b"\xc0\x00", b"\xd0\x00"
EXPLAINED = (
    "Each was tried as often on connections of its own, all open at once. *CPU* is what the broker's process "
    "spent on one of them from its socket to its end; *closed* how many the broker ended itself within half a "
    "second; *held* by its own books (`held_bytes`) and *resident* by the operating system is what one of them "
    "took while all were open: a process that has grown once keeps the memory for the next. *At* is the kind of "
    "listener, and *× honest* the CPU by that of an honest client there. The numbers are those of "
    "[hardening](../hardening.md)."
)


def packet(first: int, body: bytes) -> bytes:
    """Put a length before it."""
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([first]) + digits + body


def text(value: str | bytes) -> bytes:
    """Put two bytes of length before it."""
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def connect(client_id: str | bytes, properties: bytes = b"") -> bytes:
    """Make a CONNECT of MQTT 5, clean."""
    block = packet(0, properties)[1:]
    return packet(0x10, text("MQTT") + b"\x05\x02\x00\x00" + block + text(client_id))


def publish(topic: str, payload: bytes, *, first: int = 0x30, packet_id: int = 0) -> bytes:
    """Make a PUBLISH without properties."""
    return packet(first, text(topic) + (packet_id.to_bytes(2, "big") if packet_id else b"") + b"\x00" + payload)


def subscribe(topic: str | bytes, options: int = 0) -> bytes:
    """Make a SUBSCRIBE of one filter."""
    return packet(0x82, b"\x00\x01\x00" + text(topic) + bytes([options]))


class Input(NamedTuple):
    """One bad input: its number on the page on hardening, what it is, and what connection so-and-so says."""

    number: str
    name: str
    says: Callable[[int], bytes]
    #: The listener.
    at: str = "mqtt"
    #: Handshakes that are gone through before: of "TLS", of "HTTP", of "TLS and HTTP".
    behind: str = ""


def _known(rest: bytes) -> Callable[[int], bytes]:
    return lambda n: connect(f"c{n}") + rest


def _framed(says: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda n: frame(BINARY, says(n))


def _retained(number: int) -> bytes:
    return b"".join(publish(f"k/{number}/{place}", b"x", first=0x31) for place in range(100))


def _unreleased() -> bytes:
    return b"".join(publish("t", b"x", first=0x34, packet_id=packet_id) for packet_id in range(1, 1001))


HONEST = Input(
    "",
    "an honest client: subscribes, publishes, is answered",
    lambda n: connect(f"h{n}") + subscribe(f"h/{n}", 1) + publish(f"h/{n}", b"x" * 100, first=0x32, packet_id=7),
)
INPUTS = (
    Input("1", "announces 256 MB and is no CONNECT", lambda _: b"\x30\xff\xff\xff\x7f" + b"x" * 100),
    Input("2", "half a CONNECT of 60 kB", lambda n: connect(f"{n}" + "x" * 60_000)[:30_000]),
    Input("20", "says nothing", lambda _: b""),
    Input("3", "a length of five bytes", _known(b"\x30\xff\xff\xff\xff\x01")),
    Input("5", "a topic longer than its packet", _known(packet(0x30, b"\xff\xffabc"))),
    Input("6", "SUBSCRIBE that ends before its options", _known(packet(0x82, b"\x00\x01\x00" + text("a")))),
    Input("7", "a topic alias above the maximum", _known(packet(0x30, text("t") + b"\x03\x23\xff\xff"))),
    Input("8", "a property twice", _known(packet(0x30, text("t") + b"\x04\x01\x00\x01\x00x"))),
    Input("9", "19,000 user properties in CONNECT", lambda n: connect(f"u{n}", b"\x26\x00\x00\x00\x00" * 19_000)),
    Input("10", "a topic of 65,535 levels", _known(publish("/" * 65_534, b"x"))),
    Input("10", "a filter of 200 levels", lambda n: connect(f"d{n}") + subscribe(f"{n}" + "/a" * 199)),
    Input(
        "11",
        "a filter of 200 wildcards",
        lambda n: connect(f"w{n}") + subscribe("+/" * 199 + "#") + publish("a/" * 150, b""),
    ),
    Input("13", "CONNACK from a client", _known(b"\x20\x03\x00\x00\x00")),
    Input("14", "QoS 3", _known(publish("t", b"x", first=0x36, packet_id=1))),
    Input("15", "a client id that is no text", lambda _: connect(b"\xff\xfe\xed\xa0\x80")),
    Input("16", "1000 messages of QoS 2 never released", lambda n: connect(f"q{n}") + _unreleased()),
    Input(
        "17",
        "100 kB for itself, never read",
        lambda n: connect(f"r{n}") + subscribe(f"r/{n}") + publish(f"r/{n}", KILOBYTE) * 100,
    ),
    Input("18", "the client id of all others", lambda _: connect("storm")),
    Input(
        "21",
        "a greeting of TLS at the plain port",
        lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + KILOBYTE[:506],
    ),
    Input("24", "100 retained messages", lambda n: connect(f"k{n}") + _retained(n)),
    Input("25", "wildcards that match none of them", lambda n: connect(f"l{n}") + subscribe("+/+/+/nothing")),
    Input("27", "a shared filter without a name", _known(subscribe("$share//a"))),
)
HONEST_ONES = (
    HONEST,
    Input("", "an honest client over TLS", HONEST.says, "mqtts", "TLS"),
    Input("", "an honest client over WebSocket", _framed(HONEST.says), "ws", "HTTP"),
    Input("", "an honest client over both", _framed(HONEST.says), "wss", "TLS and HTTP"),
)
LAYERED = (
    Input("21", "half a greeting of TLS", lambda _: HALF_A_GREETING, "mqtts"),
    Input("21", "garbage where TLS is expected", lambda _: KILOBYTE, "mqtts"),
    Input("21", "MQTT where TLS is expected", lambda n: connect(f"p{n}"), "mqtts"),
    Input("21", "TLS, and then nothing", lambda _: b"", "mqtts", "TLS"),
    Input("22", "half a request", lambda _: REQUEST[:50], "ws"),
    Input("22", "half a greeting of TLS", lambda _: HALF_A_GREETING, "wss"),
    Input("22", "TLS, and half a request", lambda _: REQUEST[:50], "wss", "TLS"),
    Input("22", "a WebSocket, and then nothing", lambda _: b"", "ws", "HTTP"),
    Input("22", "a WebSocket, and then nothing", lambda _: b"", "wss", "TLS and HTTP"),
    Input("22", "a request with 16 kB of headers", lambda _: REQUEST[:-2] + b"X: y\r\n" * 2700 + b"\r\n", "ws"),
    Input("22", "a page of another origin", lambda _: REQUEST[:-2] + b"Origin: https://evil.example\r\n\r\n", "ws"),
    *(
        Input(number, name, says, at, behind)
        for at, behind in (("ws", "HTTP"), ("wss", "TLS and HTTP"))
        for number, name, says in (
            ("4", "CONNECT in a text frame", lambda n: frame(TEXT, connect(f"t{n}"))),
            ("4", "a message in fragments of one byte, a ping behind each", lambda n: fragments(HONEST.says(n))),
            ("4", "a frame of 64 bits of length", lambda n: frame(BINARY, connect(f"l{n}"), length=1 << 40)),
            ("4", "60 kB of a packet announced in a frame of 100 B",
             lambda n: frame(BINARY, connect(f"{n}" + "x" * 60_000)[:100])),
            ("22", "50 MB compressed to 50 kB, which was offered and not agreed on", lambda _: bomb()),
            ("22", "1,000 pings of 125 B",
             lambda n: frame(BINARY, connect(f"f{n}")) + frame(WS_PING, bytes(125)) * 1000),
            ("22", "a frame without a mask", lambda _: b"\x82\x02\xc0\x00"),
        )
    ),
)  # fmt: skip


def cpu(pid: int) -> float:
    """Seconds that the threads of a process have run, finer than its clock ticks."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_socket(port: int, number: int) -> socket.socket:
    """Connect from an address of its own for each thousand: the broker bounds what one may do."""
    return socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.{2 + number // 1000 % 250}.1", 0))


def drain(sockets: list[socket.socket], seconds: float, *, reads: bool) -> int:
    """Read what comes until nothing has for so long; say how many were ended."""
    with selectors.DefaultSelector() as selector:
        for peer in sockets:
            peer.setblocking(False)
            selector.register(peer, selectors.EVENT_READ, peer)
        ended = 0
        until = time.monotonic() + seconds
        if not reads:
            time.sleep(seconds)
        while reads and time.monotonic() < until and selector.get_map():
            for key, _ in selector.select(until - time.monotonic()):
                heard: socket.socket = key.data
                if has_ended(heard):
                    ended += 1
                    selector.unregister(heard)
        return ended


def tried(broker: report.Program, bad: Input, count: int, first: int) -> dict[str, Any]:
    """Try one input on so many connections at once."""
    stats = broker.ask()
    port, held_before = stats["ports"][bad.at], stats["held_bytes"]
    cpu_before, memory_before = cpu(broker.pid), resident(broker.pid)
    sockets = []
    for number in range(count):
        sockets.append(open_socket(port, first + number))
        if "TLS" in bad.behind:
            sockets[-1] = encrypt(sockets[-1])
        if "HTTP" in bad.behind:
            upgrade(sockets[-1])
        try:
            sockets[-1].sendall(bad.says(number))
        except OSError:
            continue
    closed = drain(sockets, 0.5, reads="never read" not in bad.name)
    held, memory = broker.ask()["held_bytes"] - held_before, resident(broker.pid) - memory_before
    for peer in sockets:
        peer.close()
    patience = time.monotonic() + 20
    while broker.ask()["connections"] and time.monotonic() < patience:
        time.sleep(0.01)
    spent = cpu(broker.pid) - cpu_before
    return {
        "number": bad.number, "name": bad.name, "at": bad.at, "cpu_us": spent * 1e6 / count, "closed": closed / count,
        "held": max(0, held) / count, "resident": max(0, memory) / count,
    }  # fmt: skip


def round_trips(peer: socket.socket, seconds: float) -> list[float]:
    """Milliseconds from PINGREQ to PINGRESP, one behind the other."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        peer.sendall(PING)
        answer = b""
        while len(answer) < len(PONG):
            answer += peer.recv(2)
        took.append((time.perf_counter() - begin) * 1000)
        time.sleep(0.001)
    return sorted(took)


def slow_ones(broker: report.Program, count: int, first: int) -> dict[str, Any]:
    """Thousands of slow CONNECT packets beside one honest client."""
    honest = open_socket(broker.port, first)
    honest.sendall(connect("honest"))
    honest.recv(1000)
    alone = round_trips(honest, 2)
    before, held_before, cpu_before = resident(broker.pid), broker.ask()["held_bytes"], cpu(broker.pid)
    begun = connect("x" * 5000)
    sockets = [open_socket(broker.port, first + 1000 + number) for number in range(count)]
    for peer in sockets:
        peer.sendall(begun[:2000])
    beside = round_trips(honest, 2)
    result = {
        "count": count, "held": (broker.ask()["held_bytes"] - held_before) / count,
        "resident": (resident(broker.pid) - before) / count,
        "alone_p99_ms": alone[len(alone) * 99 // 100], "beside_p99_ms": beside[len(beside) * 99 // 100],
    }  # fmt: skip
    begin = time.monotonic()
    result["ended"] = drain(sockets, 15, reads=True)
    result["seconds"] = time.monotonic() - begin
    result["cpu_us"] = (cpu(broker.pid) - cpu_before) * 1e6 / count
    for peer in [*sockets, honest]:
        peer.close()
    return result


def page(result: dict[str, Any], where: dict[str, str], command: str) -> str:
    """Write the page."""
    honest = {one["at"]: one["cpu_us"] for one in result["inputs"] if not one["number"]}
    rows = [
        [one["number"], one["name"], one["at"], f"{one['cpu_us']:,.0f}", f"{one['cpu_us'] / honest[one['at']]:.1f}",
         f"{one['closed']:.0%}", f"{one['held']:,.0f}", f"{one['resident']:,.0f}"]
        for one in result["inputs"]
    ]  # fmt: skip
    slow = result["slow"]
    parts = [
        "# What bad input costs",
        report.about(where, command),
        EXPLAINED,
        report.table(["nr", "input", "at", "CPU, µs", "× honest", "closed", "held, bytes", "resident, bytes"], rows),
        f"## {slow['count']:,} sockets, each with a CONNECT that is not finished",
        report.table(
            ["", ""],
            [
                ["held for each, bytes", f"{slow['held']:,.0f}"],
                ["resident for each, bytes", f"{slow['resident']:,.0f}"],
                ["CPU for each, to its end, µs", f"{slow['cpu_us']:,.0f}"],
                [f"ended by the broker, within {slow['seconds']:.1f} s", f"{slow['ended']:,}"],
                ["an honest client's PINGREQ to PINGRESP, p99, alone, ms", f"{slow['alone_p99_ms']:.2f}"],
                ["the same beside them, ms", f"{slow['beside_p99_ms']:.2f}"],
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="connections for each input (%(default)s)")
    parser.add_argument("--out", type=Path, help="where page and raw figures go; else the page is printed")
    options = parser.parse_args()
    where = report.machine()
    with report.program("serve", f"--certificates={encrypted.certificates().name}") as broker:
        # What comes first pays for memory that all others use again.
        for one in HONEST_ONES:
            tried(broker, one, options.count, 0)
        measured = []
        for number, one in enumerate((*HONEST_ONES, *INPUTS, *LAYERED)):
            report.say(f"{one.name} ({one.at})")
            measured.append(tried(broker, one, options.count, 1000 * (number + 1)))
        report.say(f"{SLOW} slow ones")
        slow = slow_ones(broker, SLOW, 100_000)
    result: dict[str, Any] = {"inputs": measured, "slow": slow, "machine": where}
    command = f"make bench-bad-inputs ARGS='--count {options.count}'"
    report.publish(options.out, "bad-inputs", page(result, where, command), result, {})


if __name__ == "__main__":
    main()
