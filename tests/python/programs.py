"""Programs of their own, for what cannot be shown inside the test's process: exit, signals, fork, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import IO, TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    import signal

#: Nothing waits longer; far more than anything takes.
GUARD = 30.0


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    stdout: str
    stderr: str
    #: From the last line it printed, or the signal it got, to its end.
    seconds: float


class Program:
    """A Python program that runs beside the test; killed on exit if it still runs."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "error", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | (env or {}),
        )
        self._stderr: list[str] = []
        self._seen: list[str] = []
        self._last = time.monotonic()
        # Read beside the test, or a program that complains at length would stop in the middle.
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._guard = threading.Timer(GUARD, self._process.kill)

    def __enter__(self) -> Self:
        self._reader.start()
        self._guard.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        self._guard.join()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def line(self) -> str:
        """Wait for its next line; empty when it has ended."""
        line = self._stream(self._process.stdout).readline()
        if line:
            self._last = time.monotonic()
            self._seen.append(line)
        return line.rstrip("\n")

    def expect(self, text: str) -> None:
        """Wait for this line."""
        line = self.line()
        assert line == text, f"{line!r} instead of {text!r}; its errors: {self.errors()}"

    def tell(self, line: str) -> None:
        """Give it a line to read."""
        stdin = self._stream(self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._last = time.monotonic()
        self._process.send_signal(number)

    def end(self) -> Ended:
        """Read what it still prints, and wait for its end."""
        for line in self._stream(self._process.stdout):
            self._last = time.monotonic()
            self._seen.append(line)
        code = self._process.wait()
        seconds = time.monotonic() - self._last
        self._reader.join()
        return Ended(code, "".join(self._seen), "".join(self._stderr), seconds)

    def errors(self) -> str:
        """Give what it wrote to its standard error up to its end."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        return "".join(self._stderr)

    def _read_stderr(self) -> None:
        self._stderr.extend(self._stream(self._process.stderr))

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream


def script(source: str, *arguments: str) -> Program:
    """Start a program from its text."""
    return Program("-c", textwrap.dedent(source), *arguments)


def run_script(source: str, *arguments: str) -> Ended:
    """Run a program from its text to its end."""
    with script(source, *arguments) as program:
        return program.end()


def assert_clean(ended: Ended, *, within: float | None = None) -> None:
    """Check that a program ended well and without a word of complaint, in time."""
    assert (ended.code, ended.stderr) == (0, ""), ended
    if within is not None:
        assert ended.seconds < within
