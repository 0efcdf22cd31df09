"""What is said beside topic and payload, in the form that the native half takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmqtt._types import QoSLike, UserProperties


def of_message(
    expiry: float | None,
    content_type: str | None,
    response_topic: str | None,
    correlation: bytes | None,
    user_properties: UserProperties,
) -> dict[str, Any]:
    """Say what a message has."""
    return {
        "expiry": expiry,
        "content_type": content_type,
        "response_topic": response_topic,
        "correlation": correlation,
        "user_properties": list(user_properties),
    }


def of_request(
    timeout: float | None, expiry: float | None, content_type: str | None, user_properties: UserProperties
) -> dict[str, Any]:
    """Say what a request has, and how long its answer is waited for."""
    if expiry is None and timeout is not None and math.isfinite(timeout):
        expiry = math.ceil(timeout)
    return {"timeout": timeout, "properties": of_message(expiry, content_type, None, None, user_properties)}


def of_responder(qos: QoSLike, maxsize: int, max_bytes: int) -> dict[str, Any]:
    """Say how a responder subscribes. It takes requests as they come, and retained ones never."""
    return {
        "qos": qos,
        "maxsize": maxsize,
        "max_bytes": max_bytes,
        "overflow": None,
        "ack": "received",
        "no_local": False,
        "retain_as_published": False,
        "retain_handling": 2,
        "user_properties": [],
    }


def of_farewell(
    reason_code: int | None, session_expiry: float | None, reason_string: str | None, user_properties: UserProperties
) -> dict[str, Any] | None:
    """Say what a goodbye has; `None`: nothing beside itself."""
    if reason_code is None and session_expiry is None and reason_string is None and not user_properties:
        return None
    return {
        "reason_code": reason_code,
        "session_expiry": session_expiry,
        "reason_string": reason_string,
        "user_properties": list(user_properties),
    }
