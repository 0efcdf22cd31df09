"""What clients and brokers tell the standard `logging`: connections, never messages.

The network's threads write entries into one bounded queue. One thread of Python's, begun when the first client connects
or the first broker starts, reads them and calls the handlers: so a handler that takes its time holds up no connection.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Final

from rmqtt._rmqtt import NativeJournal

__all__ = ["journal", "keep"]

_BOTH: Final = logging.getLogger("rmqtt")
_BOTH.addHandler(logging.NullHandler())
_CLIENT: Final = logging.getLogger("rmqtt.client")
_BROKER: Final = logging.getLogger("rmqtt.broker")

_SENTENCES: Final = {
    "connecting": (_CLIENT, DEBUG, "client %s connects to %s"),
    "connected": (_CLIENT, INFO, "client %s is connected to %s: MQTT %s, session %s"),
    "lost": (_CLIENT, WARNING, "client %s has no connection to %s: %s; it tries again in %s s"),
    "gave up": (_CLIENT, ERROR, "client %s has given up on %s: %s"),
    "closed": (_CLIENT, INFO, "client %s of %s is closed"),
    "session lost": (_CLIENT, WARNING, "the session of client %s is forgotten by %s"),
    "resubscribed": (_CLIENT, INFO, "client %s has its subscriptions at %s again: %s"),
    "dropped": (_CLIENT, WARNING, "client %s of %s dropped %s messages: the queue is full of the subscription to %s"),
    "dropped offline": (_CLIENT, WARNING, "client %s had no connection to %s and dropped %s messages of QoS 0"),
    "dropped full": (_CLIENT, WARNING, "the outbox of client %s to %s was full and dropped %s messages for newer ones"),
    "dropped late": (_CLIENT, WARNING, "client %s could not send to %s in time and dropped %s messages"),
    "redirected": (_CLIENT, WARNING, "client %s was sent from %s to %s"),
    "listening": (_BROKER, INFO, "listening at %s"),
    "client connected": (_BROKER, INFO, "client %s connected from %s: MQTT %s, session %s"),
    "client disconnected": (_BROKER, INFO, "client %s at %s disconnected: %s"),
    "refused": (_BROKER, INFO, "client %s at %s refused: %s"),
    "handshakes failed": (_BROKER, INFO, "handshakes failed: %s at %s, the last with %s: %s"),
    "limit reached": (_BROKER, WARNING, "limit %s reached %s times"),
    "stopped": (_BROKER, INFO, "stopped"),
}

# While nobody wants to know, entries are fetched together, which costs next to nothing.
_REST: Final = 0.1
# A handler that does not come back must not keep the interpreter from ending.
_JOIN: Final = 5.0

_lock = threading.Lock()
_journal = NativeJournal()
_reader: threading.Thread | None = None


def journal() -> NativeJournal:
    """Where clients and brokers of this process write."""
    return _journal


def keep() -> None:
    """From now on somebody reads."""
    global _reader  # noqa: PLW0603 - one for the process
    if _reader is not None:
        return
    with _lock:
        if _reader is None:
            _reader = threading.Thread(target=_read, args=(_journal,), name="rmqtt-log", daemon=True)
            _reader.start()
            atexit.register(_end)


def _end() -> None:
    # Neither a thread that waits outside of Python nor an entry is left to an interpreter that is taken down.
    _journal.close()
    if _reader is not None:
        _reader.join(_JOIN)


def _after_fork() -> None:
    # The thread is the parent's, and so may be a lock.
    global _lock, _journal, _reader
    _lock, _journal, _reader = threading.Lock(), NativeJournal(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _read(entries: NativeJournal) -> None:
    rest = 0.0
    while (entry := entries.next(rest)) is not None:
        missing, at, said = entry
        if missing:
            _say(_BOTH, INFO, "%s entries are missing here: they came faster than they were handled", (missing,), at)
        if said is not None:
            kind, words = said
            logger, level, sentence = _SENTENCES[kind]
            rest = 0.0 if _say(logger, level, sentence, tuple(words), at) else _REST


def _say(logger: logging.Logger, level: int, sentence: str, words: tuple[object, ...], at: float) -> bool:
    if not logger.isEnabledFor(level):
        return False
    record = logger.makeRecord(logger.name, level, __file__, 0, sentence, words, None)
    # When it was, and not when there was time to say so.
    delay = record.created - at
    record.created, record.msecs = at, at % 1 * 1000
    record.relativeCreated -= delay * 1000
    try:
        logger.handle(record)
    except Exception:  # noqa: BLE001 - a filter of the user's; handlers look after themselves
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
    return True
