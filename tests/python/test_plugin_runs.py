"""The plugin in test runs of its own: outcomes, words, reports, and the company of other plugins."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import rmqtt
    from pytest import Pytester, RunResult  # noqa: PT013 - types only

QUIET = ("-p", "no:cacheprovider", "-W", "error")
# Without it, the plugin for asyncio warns; where it is off, pytest warns of the setting.
ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")

BROKEN_CLIENT = """
import socket
def test_says_nonsense(mqtt_port):
    with socket.create_connection(("127.0.0.1", mqtt_port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        assert stranger.recv(100) == b""
"""

ASYNC = """
import rmqtt
{mark}
async def test_async(mqtt_client, mqtt_capture):
    async with mqtt_client as client, client.subscribe("a", qos=1) as messages:
        await client.publish("a", b"1", qos=1)
        assert (await messages.get(5)).payload == b"1"
    mqtt_capture.assert_published("a")

def test_plain(mqtt_sync_client):
    mqtt_sync_client.publish("a", qos=1)
"""


def quiet(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Make warnings errors."""
    return (*QUIET, *(() if "no:asyncio" in arguments else ASYNCIO), *arguments)


def run(pytester: Pytester, source: str, *arguments: str) -> RunResult:
    """Run tests in this process, with warnings as errors and no other plugins than named."""
    pytester.makepyfile(textwrap.dedent(source))
    return pytester.runpytest_inprocess(*quiet(arguments))


def run_apart(pytester: Pytester, source: str, *arguments: str) -> RunResult:
    """Run tests in a process of their own."""
    pytester.makepyfile(textwrap.dedent(source))
    return pytester.runpytest_subprocess(*quiet(arguments))


def test_an_option_that_the_marker_does_not_know_fails_the_test_and_lists_the_choices(pytester: Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest
        @pytest.mark.mqtt(recieve_maximum=1)
        def test_misspelt(): pass
        @pytest.mark.mqtt(4)
        def test_without_a_name(): pass
        @pytest.mark.mqtt(version=6)
        def test_of_the_future(): pass
        """,
    )
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            "*the marker mqtt has no option 'recieve_maximum'; its options are: * receive_maximum, * version*",
            "*takes options by name only, not (4,)*",
            "*knows version=5 and version='3.1.1', not 6*",
        ]
    )


def test_the_marker_is_registered_and_described(pytester: Pytester) -> None:
    result = run(pytester, "def test_nothing(): pass", "--markers", "--strict-markers")
    result.stdout.fnmatch_lines(["@pytest.mark.mqtt(*): how mqtt_broker is made: *"])


def test_a_client_that_breaks_the_protocol_fails_strict_tests_only(pytester: Pytester) -> None:
    run(pytester, BROKEN_CLIENT).assert_outcomes(passed=1)
    result = run(pytester, BROKEN_CLIENT, "--mqtt-strict")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*a client broke the protocol or a limit of the broker at mqtt://127.0.0.1:*"])
    pytester.makeini("[pytest]\nmqtt_strict = true")
    run(pytester, BROKEN_CLIENT).assert_outcomes(passed=1, errors=1)
    forgiving = BROKEN_CLIENT.replace("def test", "import pytest\n@pytest.mark.mqtt(strict=False)\ndef test")
    run(pytester, forgiving).assert_outcomes(passed=1)


def test_a_failed_test_shows_the_end_of_the_wire(pytester: Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest
        def test_fails(mqtt_sync_client):
            for n in range(60):
                mqtt_sync_client.publish("plant/7", str(n), qos=1)
            assert False
        @pytest.mark.mqtt(wire=False)
        def test_fails_without(mqtt_sync_client):
            mqtt_sync_client.publish("without", qos=1)
            assert False
        def test_passes(mqtt_sync_client):
            mqtt_sync_client.publish("passes", qos=1)
        """,
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        ["*- last packets at mqtt://127.0.0.1:* -*", "*PUBLISH*plant/7*", "*PUBACK*", "*test_fails_without*"]
    )
    shown = [line for line in result.outlines if "PUBLISH" in line or "PUBACK" in line]
    assert len(shown) == 50
    result.stdout.no_fnmatch_line("*CONNECT*")


def test_a_test_that_fails_in_a_worker_shows_the_wire_too(pytester: Pytester) -> None:
    source = "def test_fails(mqtt_sync_client):\n    assert not mqtt_sync_client.publish('plant/7', qos=1)"
    result = run_apart(pytester, source, "-n", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- last packets at mqtt://127.0.0.1:* -*", "*CONNECT*", "*PUBLISH*plant/7*"])


def test_who_breaks_the_protocol_is_shown_on_the_wire(pytester: Pytester) -> None:
    result = run(pytester, BROKEN_CLIENT, "--mqtt-strict")
    result.stdout.fnmatch_lines(["*- last packets at mqtt://127.0.0.1:* -*"])


def test_an_auth_hook_that_raises_fails_the_test(pytester: Pytester) -> None:
    source = """
    import pytest, rmqtt
    def check(login):
        raise LookupError
    @pytest.mark.mqtt(auth=check)
    def test_hook(mqtt_broker):
        with pytest.raises(rmqtt.ConnectRefused):
            rmqtt.SyncClient(mqtt_broker.url, reconnect=None).connect()
    """
    result = run(pytester, source)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*the auth hook of the broker*1 logins*"])


def test_another_broker_is_used_where_that_will_do_and_the_rest_is_skipped(
    pytester: Pytester, mqtt_broker: rmqtt.Broker
) -> None:
    source = f"""
    import pytest, rmqtt
    def test_url(mqtt_url, mqtt_port):
        assert (mqtt_url, mqtt_port) == ({mqtt_broker.url!r}, {mqtt_broker.port})
    def test_client(mqtt_sync_client, mqtt_namespace):
        mqtt_sync_client.publish(mqtt_namespace, qos=1)
    async def test_async(mqtt_client):
        async with mqtt_client as client:
            assert client.url == {mqtt_broker.url!r}
    def test_broker(mqtt_broker): pass
    def test_capture(mqtt_capture): pass
    def test_factory(mqtt_broker_factory): pass
    def test_session(mqtt_broker_session): pass
    @pytest.mark.mqtt(receive_maximum=1)
    def test_marked(mqtt_url): pass
    @pytest.mark.mqtt(version="3.1.1")
    def test_version(mqtt_sync_client):
        assert mqtt_sync_client.negotiated.version == "3.1.1"
    """
    result = run(pytester, source, "--mqtt-url", mqtt_broker.url, "-rs", "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=4, skipped=5)
    result.stdout.fnmatch_lines(
        [f"SKIPPED*needs a broker that rmqtt runs, and --mqtt-url names another: {mqtt_broker.url}"]
    )
    pytester.makeini(f"[pytest]\nmqtt_url = {mqtt_broker.url}")
    run(pytester, source, "-o", "asyncio_mode=auto").assert_outcomes(passed=4, skipped=5)


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        pytest.param("", ["-o", "asyncio_mode=auto"], id="pytest-asyncio, auto"),
        pytest.param(
            "import pytest\n@pytest.mark.asyncio",
            ["-o", "asyncio_mode=strict", "-p", "no:anyio"],
            id="pytest-asyncio, strict",
        ),
        pytest.param("import pytest\n@pytest.mark.anyio", ["-p", "no:asyncio", "-k", "not trio"], id="anyio"),
    ],
)
def test_the_fixtures_serve_tests_that_are_coroutines(pytester: Pytester, mark: str, arguments: list[str]) -> None:
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'")
    run_apart(pytester, ASYNC.format(mark=mark), *arguments).assert_outcomes(passed=2)


def test_the_fixtures_serve_where_nothing_is_asynchronous(pytester: Pytester) -> None:
    source = "def test_plain(mqtt_sync_client): mqtt_sync_client.publish('a', qos=1)"
    run_apart(pytester, source, "-p", "no:asyncio", "-p", "no:anyio").assert_outcomes(passed=1)


def test_workers_of_xdist_have_brokers_of_their_own(pytester: Pytester) -> None:
    source = """
    import pytest, rmqtt
    @pytest.mark.parametrize("n", range(20))
    def test_alone(mqtt_broker, mqtt_sync_client, n):
        mqtt_sync_client.publish("n", str(n), qos=1, retain=True)
        assert mqtt_broker.retained["n"].payload == str(n).encode()
    @pytest.mark.parametrize("n", range(20))
    def test_shared(mqtt_broker_session, mqtt_namespace, n):
        mqtt_broker_session.publish_now(mqtt_namespace, b"1", retain=True)
        assert mqtt_namespace in mqtt_broker_session.retained
    """
    run_apart(pytester, source, "-n", "3").assert_outcomes(passed=40)


def test_classes_of_unittest_take_the_fixtures_through_one_of_their_own(pytester: Pytester) -> None:
    source = """
    import unittest, pytest, rmqtt
    class TestDevice(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def use(self, mqtt_broker, mqtt_capture):
            self.broker, self.capture = mqtt_broker, mqtt_capture
        def test_publishes(self):
            with rmqtt.SyncClient(self.broker.url) as client:
                client.publish("a", qos=1)
            self.assertEqual([("a", b"")], self.capture.records)
    class TestAwaiting(unittest.IsolatedAsyncioTestCase):
        @pytest.fixture(autouse=True)
        def use(self, mqtt_client):
            self.client = mqtt_client
        async def test_publishes(self):
            async with self.client as client:
                await client.publish("a", qos=1)
    class TestWithoutPytest(unittest.TestCase):
        def setUp(self):
            self.broker = self.enterContext(rmqtt.Broker("mqtt://127.0.0.1:0"))
        def test_runs(self):
            self.assertTrue(self.broker.is_running)
    """
    run_apart(pytester, source).assert_outcomes(passed=3)


def test_who_asks_for_the_clock_too_late_is_told_so(pytester: Pytester) -> None:
    result = run(
        pytester,
        """
        def test_late(mqtt_broker, request):
            request.getfixturevalue("mqtt_clock")
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*name mqtt_clock among the arguments: *"])


def test_importing_the_package_does_not_import_pytest() -> None:
    code = "import sys, rmqtt; rmqtt.Broker, rmqtt.SyncClient; import rmqtt.testing; print('pytest' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_project_that_does_not_use_the_plugin_loads_nothing_of_the_package(pytester: Pytester) -> None:
    source = """
    import sys
    def test_unused(request):
        assert request.config.pluginmanager.has_plugin("rmqtt")
        loaded = {name for name in sys.modules if name.split(".")[0] == "rmqtt"}
        assert loaded == {"rmqtt", "rmqtt.pytest_plugin"}, loaded
    """
    run_apart(pytester, source, "-p", "no:pytester").assert_outcomes(passed=1)
