"""The command: ``rmqtt broker``, or ``python -m rmqtt broker``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rmqtt._broker import Broker
from rmqtt._limits import Limits
from rmqtt._types import Features
from rmqtt.exceptions import BrokerError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Of the command line, without the program's name; `None`: those of this process.

    Returns
    -------
    int
        The exit code: 0 well, 1 not.

    Examples
    --------
    >>> from rmqtt.cli import main
    >>> main(["broker", "--host", "not a host"])
    1
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (BrokerError, OSError, ValueError) as error:
        print(f"rmqtt: {error}", file=sys.stderr)
        return 1


#: The features that are there or not.
_SWITCHES = [field.name for field in fields(Features) if field.name != "maximum_qos"]


class _Version(argparse.Action):
    """Look the version up only when asked: that takes longer than all other options together."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - rare

        print(f"rmqtt {version('rmqtt')}")
        parser.exit()


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 0xFFFF:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rmqtt", description="MQTT 3.1.1 and 5.0.")
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and exit")
    commands = parser.add_subparsers(required=True, metavar="{broker,passwd}")
    passwd = commands.add_parser("passwd", help="add, change or delete a user of a password file")
    passwd.set_defaults(run=_passwd)
    passwd.add_argument("file", metavar="FILE", type=Path, help="made if it is not there")
    passwd.add_argument("user", metavar="USER", help="the password is asked for, or is the first line of the input")
    passwd.add_argument("--delete", action="store_true", help="delete the user")
    broker = commands.add_parser("broker", help="run a broker until Ctrl-C or SIGTERM")
    broker.set_defaults(run=_broker)
    broker.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    broker.add_argument("--port", type=_port, default=1883, help="0 to 65535; 0: any free one (default: %(default)s)")
    broker.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="listen at other addresses than loopback too, although nobody is asked who they are",
    )
    users = broker.add_mutually_exclusive_group()
    users.add_argument(
        "--password-file",
        metavar="FILE",
        type=Path,
        help="let in nobody but its users; rmqtt passwd writes it, Mosquitto's is read too, SIGHUP reads it again",
    )
    users.add_argument(
        "--users",
        metavar="FILE",
        type=Path,
        help="let in nobody but these: a line NAME:PASSWORD for each. On a command line everybody could read them",
    )
    broker.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="threads on which connections stay, 0 to 64: for many clients that say little (default: %(default)s)",
    )
    limits = broker.add_argument_group("limits", "Reaching one costs the one who reached it.")
    defaults = Limits()
    for field in fields(Limits):
        default = getattr(defaults, field.name)
        limits.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=int if isinstance(default, int) else float,
            default=default,
            metavar="N",
            help=f"(default: {'none' if default is None else default})",
        )
    missing = broker.add_argument_group("features", "What is switched off is announced to MQTT 5 clients and refused.")
    missing.add_argument("--maximum-qos", type=int, choices=(0, 1, 2), default=2, help="(default: %(default)s)")
    for name in _SWITCHES:
        flag = f"--no-{name.replace('_', '-')}"
        missing.add_argument(flag, dest=name, action="store_false", help=f"no {name.replace('_', ' ')}")
    broker.add_argument("--response-information", metavar="TOPIC", help="where clients may have answers published")
    broker.add_argument(
        "--no-validate-payloads",
        dest="validate_payloads",
        action="store_false",
        help="take what is said to be UTF-8 without looking",
    )
    return parser


def _users(file: Path) -> dict[str, str]:
    users: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
        name, colon, password = line.removesuffix("\r").partition(":")
        if not name and not colon:
            continue
        # The line itself is not shown: half of it is a password.
        if not (name and password):
            raise ValueError(f"line {number} of {file} is not NAME:PASSWORD")
        if name in users:
            raise ValueError(f"line {number} of {file}: the user {name!r} is there twice")
        users[name] = password
    return users


def _passwd(options: argparse.Namespace) -> int:
    from rmqtt._passwd import passwd  # noqa: PLC0415 - only this command needs it

    print(passwd(options.file, options.user, delete=options.delete))
    return 0


def _reload(broker: Broker) -> None:
    try:
        broker.reload()
    except ValueError as error:
        print(f"rmqtt: {error}; the users are as they were", file=sys.stderr, flush=True)
    else:
        print("rmqtt broker has read its files again", flush=True)


def _broker(options: argparse.Namespace) -> int:
    limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits)})
    features = Features(maximum_qos=options.maximum_qos, **{name: getattr(options, name) for name in _SWITCHES})
    host = f"[{options.host}]" if ":" in options.host else options.host
    broker = Broker(
        f"mqtt://{host}:{options.port}",
        limits=limits,
        features=features,
        response_information=options.response_information,
        validate_payloads=options.validate_payloads,
        allow_anonymous=options.allow_anonymous,
        auth=options.password_file if options.users is None else _users(options.users),
        threads=options.threads,
    )
    asked_to_stop = threading.Event()
    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM), lambda *_: asked_to_stop.set())
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: _reload(broker)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with broker:
            print(f"rmqtt broker listening at {broker.url}", flush=True)
            # In slices, since not every system lets a signal end a wait.
            while not asked_to_stop.wait(0.2):
                pass
        print("rmqtt broker stopped", flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
