"""The command: ``rmqtt broker``, or ``python -m rmqtt broker``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmqtt._broker import Broker
from rmqtt._config import load
from rmqtt._limits import Limits
from rmqtt._transport import TLS, Listener
from rmqtt._types import Features
from rmqtt._users import JWT, AuthLimits, read_users
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
#: What URLs of that kind begin with.
_ENCRYPTED = ("mqtts:", "wss:")
_WEBSOCKET = ("ws:", "wss:")
#: What is said of all listeners that may have it: the field, and the kinds of URLs.
_OF_LISTENERS = {
    "origin": ("origins", _WEBSOCKET),
    "username_from": ("username_from", _ENCRYPTED),
    "proxy_protocol": ("proxy_protocol", ("mqtt:", *_ENCRYPTED, "ws:")),
    "socket_mode": ("socket_mode", ("unix:",)),
}


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


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be octal digits, as in 660, not {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rmqtt", description="MQTT 3.1.1 and 5.0.")
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and exit")
    commands = parser.add_subparsers(required=True, metavar="{broker,passwd}")
    passwd = commands.add_parser("passwd", help="add, change or delete a user of a password file")
    passwd.set_defaults(run=_passwd)
    passwd.add_argument("file", metavar="FILE", type=Path, help="made if it is not there")
    passwd.add_argument("user", metavar="USER", help="the password is asked for, or is the first line of the input")
    passwd.add_argument("--delete", action="store_true", help="delete the user")
    _add_broker(commands)
    return parser


def _add_broker(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    # What is not given is not there: then the file has the word, and behind it the defaults of `Broker`.
    broker = commands.add_parser(
        "broker", help="run a broker until Ctrl-C or SIGTERM", argument_default=argparse.SUPPRESS
    )
    broker.set_defaults(run=_broker)
    broker.add_argument("--config", metavar="FILE", type=Path, help="a file of TOML; what is said here goes before it")
    broker.add_argument("--check", action="store_true", help="look whether all of it can be used, and do not run")
    _add_listeners(broker)
    broker.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="listen at other addresses than loopback too, although nobody is asked who they are",
    )
    users = broker.add_mutually_exclusive_group()
    users.add_argument(
        "--password-file",
        dest="auth",
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
    broker.add_argument("--jwt", metavar="FILE", help="let in who has a token signed by one of these keys, a JWKS, too")
    broker.add_argument("--jwt-issuer", metavar="NAME", help="who has to have issued it")
    broker.add_argument("--jwt-audience", metavar="NAME", help="whom it has to be for")
    broker.add_argument(
        "--acl",
        metavar="FILE",
        type=Path,
        help="who may do what, as Mosquitto writes it; SIGHUP reads it again",
    )
    broker.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads on which connections stay, 0 to 64: for many clients that say little (default: 0)",
    )
    limits = broker.add_argument_group("limits", "Reaching one costs the one who reached it.")
    _add_numbers(limits, Limits())
    logins = broker.add_argument_group("logins", "What they may cost, and how often they may fail.")
    _add_numbers(logins, AuthLimits())
    missing = broker.add_argument_group("features", "What is switched off is announced to MQTT 5 clients and refused.")
    missing.add_argument("--maximum-qos", type=int, choices=(0, 1, 2), help="(default: 2)")
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


def _add_listeners(broker: argparse.ArgumentParser) -> None:
    where = broker.add_argument_group("listeners", "They take the place of those of the file.")
    where.add_argument("--host", help="address to listen at (default: 127.0.0.1)")
    where.add_argument("--port", type=_port, help="0 to 65535; 0: any free one (default: 1883)")
    where.add_argument(
        "--listen",
        metavar="URL",
        action="append",
        help="instead of host and port; may be given several times: mqtt, mqtts, ws, wss, unix",
    )
    where.add_argument("--cert", metavar="FILE", help="certificate for mqtts and wss, PEM; SIGHUP reads it again")
    where.add_argument("--key", metavar="FILE", help="its key (default: in the same file)")
    where.add_argument("--ca", metavar="FILE", help="let in only clients with a certificate of these authorities")
    where.add_argument("--crl", metavar="FILE", help="and none that these revoke")
    where.add_argument(
        "--origin",
        metavar="ORIGIN",
        action="append",
        help="whose pages may connect to ws and wss, as in https://app.example; may be given several times "
        "(default: those from localhost)",
    )
    where.add_argument(
        "--username-from",
        choices=("cn", "san-dns", "san-email", "san-uri"),
        help="the name in a client's certificate that is its user; with --ca",
    )
    where.add_argument(
        "--proxy-protocol",
        metavar="NETWORK",
        action="append",
        help="proxies, as in 10.0.0.0/8, through which everybody comes, with a header of the PROXY protocol; may be "
        "given several times",
    )
    where.add_argument("--socket-mode", metavar="MODE", type=_mode, help="of the files of unix (default: 600)")


def _add_numbers(group: argparse._ArgumentGroup, defaults: Limits | AuthLimits) -> None:
    for field in fields(defaults):
        default = getattr(defaults, field.name)
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=int if isinstance(default, int) else float,
            metavar="N",
            help=f"(default: {'none' if default is None else default})",
        )


def _passwd(options: argparse.Namespace) -> int:
    from rmqtt._passwd import passwd  # noqa: PLC0415 - only this command needs it

    print(passwd(options.file, options.user, delete=options.delete))
    return 0


def _reload(broker: Broker) -> None:
    try:
        broker.reload()
    except (OSError, ValueError) as error:
        print(f"rmqtt: {error}; what was there stays in force", file=sys.stderr, flush=True)
    else:
        print("rmqtt broker has read its files again", flush=True)


def _listeners(given: dict[str, Any]) -> list[Listener] | None:
    urls = given.get("listen")
    if urls is not None and ("host" in given or "port" in given):
        raise ValueError("--listen says it all: --host and --port do not go with it")
    if urls is None and ("host" in given or "port" in given):
        host = given.get("host", "127.0.0.1")
        urls = [f"mqtt://{f'[{host}]' if ':' in host else host}:{given.get('port', 1883)}"]
    material = {name: given[name] for name in ("ca", "cert", "key", "crl") if name in given}
    said: dict[str, tuple[str, tuple[str, ...]]] = dict.fromkeys(material, ("", _ENCRYPTED))
    said |= {name: kind for name, kind in _OF_LISTENERS.items() if name in given}
    for name, (_, schemes) in said.items():
        if not any(url.startswith(schemes) for url in urls or ()):
            wanted = " and ".join(f"{scheme}//…" for scheme in schemes)
            raise ValueError(f"--{name.replace('_', '-')} is for --listen {wanted}")
    if urls is None:
        return None
    tls = TLS(**material) if material else None

    def listener(url: str) -> Listener:
        own = {field: given[name] for name, (field, schemes) in said.items() if field and url.startswith(schemes)}
        return Listener(url, tls=tls if url.startswith(_ENCRYPTED) else None, **own)

    return [listener(url) for url in urls]


def _configured(options: argparse.Namespace) -> dict[str, Any]:
    """Put what the command line says over what the file says."""
    given = vars(options)
    configured = load(given["config"]) if "config" in given else {}
    plain = ("allow_anonymous", "auth", "acl", "threads", "response_information", "validate_payloads")
    configured.update({name: given[name] for name in plain if name in given})
    if "users" in given:
        configured["auth"] = read_users(given["users"])
    if (tokens := _tokens(given)) is not None:
        configured["auth"] = [tokens, *(configured["auth"] for name in ("auth", "users") if name in given)]
    for name, kind in (("limits", Limits), ("auth_limits", AuthLimits), ("features", Features)):
        said = {field.name: given[field.name] for field in fields(kind) if field.name in given}
        if said:
            configured[name] = replace(configured.get(name, kind()), **said)
    if (listeners := _listeners(given)) is not None:
        configured["listeners"] = listeners
    return configured


def _tokens(given: dict[str, Any]) -> JWT | None:
    terms = {name: given[f"jwt_{name}"] for name in ("issuer", "audience") if f"jwt_{name}" in given}
    if "jwt" in given:
        return JWT(given["jwt"], **terms)
    if terms:
        raise ValueError(f"--jwt-{next(iter(terms))} is for --jwt")
    return None


def _broker(options: argparse.Namespace) -> int:
    configured = _configured(options)
    broker = Broker(*configured.pop("listeners", ()), **configured)
    if getattr(options, "check", False):
        broker.check()
        print("rmqtt broker could run with this")
        return 0
    asked_to_stop = threading.Event()
    asked_to_reload = threading.Event()
    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM), lambda *_: asked_to_stop.set())
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: asked_to_reload.set()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with broker:
            print(f"rmqtt broker listening at {', '.join(broker.urls)}", flush=True)
            # In slices, since not every system lets a signal end a wait.
            while not asked_to_stop.wait(0.2):
                if asked_to_reload.is_set():
                    # What is asked for from here on is not in it, and has its own turn.
                    asked_to_reload.clear()
                    _reload(broker)
        print("rmqtt broker stopped", flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
