"""Fixtures for pytest: a real broker in a test, on a free port, started in milliseconds and gone without trace.

No fixture is a coroutine: the broker runs on threads of its own, so the fixtures serve plain tests, pytest-asyncio in
any mode, anyio and unittest alike. Nothing of the package is loaded before a test asks for it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rmqtt import Broker, Client, Listener, SyncClient
    from rmqtt.testing import Capture, Certificates, Clock, Faults, Wire

# What is shown of the wire where a test fails.
_LINES = 50

_brokers = pytest.StashKey[list[tuple[str, "Broker"]]]()


# ---- options, and the marker ---------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; each is a setting of the ini file too."""
    group = parser.getgroup("mqtt", "MQTT, by rmqtt")
    group.addoption("--mqtt-url", metavar="URL", help="use this broker; tests that need one of ours are skipped")
    group.addoption(
        "--mqtt-strict", action="store_true", default=None, help="fail tests in which a client broke the protocol"
    )
    parser.addini("mqtt_url", "as --mqtt-url")
    parser.addini("mqtt_strict", "as --mqtt-strict", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        "mqtt(**options): how mqtt_broker is made: options of rmqtt.Broker, fields of rmqtt.Limits and rmqtt.Features, "
        "version for the clients, strict",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse what the marker does not know, also where no broker is asked for."""
    if item.get_closest_marker("mqtt"):
        _Settings(item)


class _Settings:
    """What the marks of one test ask for; a mark that is nearer to the test goes before."""

    def __init__(self, node: pytest.Item) -> None:
        marks = list(node.iter_markers("mqtt"))
        given: dict[str, Any] = {}
        for mark in reversed(marks):
            if mark.args:
                pytest.fail(f"the marker mqtt takes options by name only, not {mark.args!r}", pytrace=False)
            given.update(mark.kwargs)
        self.strict: bool = given.pop("strict", _setting(node.config, "mqtt_strict"))
        self.version: Literal["5.0", "3.1.1"] | None = _version(given.pop("version", None))
        self.broker = broker_options(given)


def _version(version: object) -> Literal["5.0", "3.1.1"] | None:
    match version:
        case None:
            return None
        case 5 | "5" | "5.0":
            return "5.0"
        case 4 | "3.1.1":
            return "3.1.1"
    pytest.fail(f"the marker mqtt knows version=5 and version='3.1.1', not {version!r}", pytrace=False)


def broker_options(given: dict[str, Any]) -> dict[str, Any]:
    """Sort what was given into options of `Broker`, with the fields of its limits and features at their place."""
    import inspect  # noqa: PLC0415 - only when a broker is made
    from dataclasses import fields, replace  # noqa: PLC0415

    from rmqtt import Broker, Features, Limits  # noqa: PLC0415

    parameters = inspect.signature(Broker).parameters.values()
    known = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    options = {name: value for name, value in given.items() if name in known}
    rest = {name: value for name, value in given.items() if name not in known}
    for group, kind in (("limits", Limits), ("features", Features)):
        names = {field.name for field in fields(kind)}
        known |= names
        if chosen := {name: rest.pop(name) for name in names & rest.keys()}:
            options[group] = replace(options.get(group, kind()), **chosen)
    if rest:
        unknown = ", ".join(map(repr, rest))
        choices = ", ".join(sorted(known | {"strict", "version"}))
        pytest.fail(f"the marker mqtt has no option {unknown}; its options are: {choices}", pytrace=False)
    return options


def _setting(config: pytest.Config, name: str) -> Any:
    given = config.getoption(name)
    return config.getini(name) if given is None else given


# ---- what a broker saw, where a test fails -------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each broker's wire below the first failure of a test."""
    report = yield
    if report.failed:
        for url, broker in item.stash.get(_brokers, []):
            if text := broker.wire.text(_LINES):
                report.sections.append((f"last packets at {url}", text))
        item.stash[_brokers] = []
    return report


# ---- brokers -------------------------------------------------------------------------------------


class BrokerFactory(Protocol):
    """The type of the fixture ``mqtt_broker_factory``."""

    def __call__(self, *listeners: str | Listener, **options: Any) -> Broker:
        """Start one more broker; without listeners on a free port."""


class ClientFactory(Protocol):
    """The type of the fixture ``mqtt_client_factory``."""

    def __call__(self, *, transport: Literal["memory", "tcp"] = "memory", **options: Any) -> Client:
        """Make one more client of ``mqtt_broker``."""


def _external(request: pytest.FixtureRequest) -> str | None:
    return _setting(request.config, "mqtt_url") or None


def _need_our_own(request: pytest.FixtureRequest) -> None:
    if url := _external(request):
        pytest.skip(f"needs a broker that rmqtt runs, and --mqtt-url names another: {url}")


@contextmanager
def _running(
    request: pytest.FixtureRequest, settings: _Settings, *listeners: str | Listener, **options: Any
) -> Iterator[Broker]:
    """Run a broker for one test, and judge at its end how its clients behaved."""
    from rmqtt import Broker  # noqa: PLC0415 - when a test asks for it

    options.setdefault("wire", True)
    if "mqtt_clock" in request.fixturenames:
        options.setdefault("clock", request.getfixturevalue("mqtt_clock"))
    broker = Broker(*(listeners or ("mqtt://127.0.0.1:0",)), **options).start()
    url = broker.url
    if options["wire"]:
        request.node.stash.setdefault(_brokers, []).append((url, broker))
    try:
        yield broker
    finally:
        broker.stop(grace=0)
    if count := broker.stats().hooks_failed:
        what = "raised, or did not answer as it should"
        pytest.fail(f"the auth hook of the broker at {url} {what}: {count} logins", pytrace=False)
    if settings.strict and (count := broker.stats().connections_violated):
        what = "a client" if count == 1 else f"clients, {count} times,"
        pytest.fail(f"{what} broke the protocol or a limit of the broker at {url}", pytrace=False)


@pytest.fixture
def mqtt_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Run a broker for this test, on 127.0.0.1 and a free port. The marker ``mqtt`` says how it is made."""
    _need_our_own(request)
    settings = _Settings(request.node)
    with _running(request, settings, **settings.broker) as broker:
        yield broker


@pytest.fixture
def mqtt_broker_factory(request: pytest.FixtureRequest) -> Iterator[BrokerFactory]:
    """Start as many brokers as the test calls for, with options as of the marker; all are stopped at its end."""
    _need_our_own(request)
    settings = _Settings(request.node)

    with ExitStack() as running:

        def start(*listeners: str | Listener, **options: Any) -> Broker:
            made = settings.broker | broker_options(options)
            return running.enter_context(_running(request, settings, *listeners, **made))

        yield start


@pytest.fixture(scope="session")
def mqtt_broker_session(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Run one broker for the whole session; with pytest-xdist, one for each worker. See ``mqtt_namespace``."""
    _need_our_own(request)
    from rmqtt import Broker  # noqa: PLC0415 - when a test asks for it

    with Broker("mqtt://127.0.0.1:0") as broker:
        yield broker


@pytest.fixture(scope="session")
def mqtt_tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give throw-away certificates: an authority, and what goes right and wrong with it. No OpenSSL is needed."""
    from rmqtt.testing import Certificates  # noqa: PLC0415 - when a test asks for it

    return Certificates.make(tmp_path_factory.mktemp("mqtt-tls"))


@pytest.fixture
def mqtt_namespace(request: pytest.FixtureRequest) -> str:
    """Give a beginning of topics that no other test has, for brokers that tests share; without a slash at its end."""
    import secrets  # noqa: PLC0415 - when a test asks for it

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name).strip("-")
    return f"{name[:80]}-{secrets.token_hex(4)}"


@pytest.fixture
def mqtt_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of ``mqtt_broker``, or of the broker that ``--mqtt-url`` names."""
    if url := _external(request):
        if _Settings(request.node).broker:
            _need_our_own(request)
        return url
    broker: Broker = request.getfixturevalue("mqtt_broker")
    return broker.url


@pytest.fixture
def mqtt_port(mqtt_url: str) -> int:
    """Give the port of ``mqtt_url``."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - when a test asks for it

    return urlsplit(mqtt_url if "://" in mqtt_url else f"mqtt://{mqtt_url}").port or 1883


@pytest.fixture
def mqtt_capture(mqtt_broker: Broker) -> Iterator[Capture]:
    """Take down everything that ``mqtt_broker`` routes; taken inside of it, so nothing can be missed."""
    with mqtt_broker.capture() as capture:
        yield capture


@pytest.fixture
def mqtt_clock(request: pytest.FixtureRequest) -> Clock:
    """Give the clock of this test's brokers and of their clients in memory: it stands still until it is moved."""
    _need_our_own(request)
    from rmqtt.testing import Clock  # noqa: PLC0415 - when a test asks for it

    if request.node.stash.get(_brokers, []):
        pytest.fail("name mqtt_clock among the arguments: the test has a broker that runs by the system's clock by now")
    return Clock()


@pytest.fixture
def mqtt_faults(mqtt_broker: Broker) -> Faults:
    """Give the fault plan of ``mqtt_broker``: what is to happen to which packet."""
    return mqtt_broker.faults


@pytest.fixture
def mqtt_wire(mqtt_broker: Broker) -> Wire:
    """Give the packets of every connection of ``mqtt_broker``, both ways."""
    return mqtt_broker.wire


# ---- clients -------------------------------------------------------------------------------------


def _client_options(request: pytest.FixtureRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Add what the marker says of clients: the version, and the first of the broker's users."""
    settings = _Settings(request.node)
    users = settings.broker.get("auth")
    if users and not {"auth", "username"} & options.keys():
        name, password = next(iter(users.items()))
        options = {"username": name, "password": password, **options}
    return {"version": settings.version, **options}


def _memory_url(request: pytest.FixtureRequest) -> str | None:
    if _external(request):
        return None
    broker: Broker = request.getfixturevalue("mqtt_broker")
    return broker._native.memory_url  # noqa: SLF001 - of this package


@pytest.fixture
def mqtt_client_factory(request: pytest.FixtureRequest, mqtt_url: str) -> ClientFactory:
    """Make clients that are not connected yet, for ``async with``: in memory, or with ``transport="tcp"`` by socket."""
    from rmqtt import Client  # noqa: PLC0415 - when a test asks for it

    def make(*, transport: Literal["memory", "tcp"] = "memory", **options: Any) -> Client:
        if transport not in ("memory", "tcp"):
            raise ValueError(f"transport must be 'memory' or 'tcp', not {transport!r}")
        near = _memory_url(request) if transport == "memory" else None
        return Client(near or mqtt_url, **_client_options(request, options))

    return make


@pytest.fixture
def mqtt_client(mqtt_client_factory: ClientFactory) -> Client:
    """Give a client in memory that is not connected yet: ``async with mqtt_client as client``."""
    return mqtt_client_factory()


@pytest.fixture
def mqtt_sync_client(request: pytest.FixtureRequest, mqtt_url: str) -> Iterator[SyncClient]:
    """Give a client for plain code that is connected, in memory."""
    from rmqtt import SyncClient  # noqa: PLC0415 - when a test asks for it

    client = SyncClient(_memory_url(request) or mqtt_url, **_client_options(request, {}))
    client.connect()
    try:
        yield client
    finally:
        client.close(timeout=0)
