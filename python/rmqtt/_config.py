"""The file of ``rmqtt broker --config``: TOML, read strictly.

A key that is not known, a value of another type and a file that cannot be read are errors that name the key. What the
values themselves may be is for the classes to say that they are made into.
"""

from __future__ import annotations

import ast
import difflib
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rmqtt._acl import Acl, AclFile
from rmqtt._limits import Limits
from rmqtt._transport import TLS, Listener
from rmqtt._types import Features
from rmqtt._users import JWT, AuthLimits, PasswordFile, read_users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rmqtt._users import AuthSource

__all__ = ["ConfigError", "load"]

T = TypeVar("T")

#: What stands at the top, with its type as it would be annotated.
_TOP: Final = {
    "allow_anonymous": "bool",
    "response_information": "str",
    "shared_strategy": 'Literal["round_robin", "random", "sticky", "hash", "least_in_flight"]',
    "threads": "int",
    "validate_payloads": "bool",
}
#: Where users come from.
_AUTH: Final = ("password_file", "password_files", "users_file", "jwt")
_TABLES: Final = ("listener", "auth", "auth_limits", "acl", "limits", "features")
#: What names a file, unless it is the thing itself, as PEM text.
_PATHS: Final = frozenset({"ca", "cert", "key", "crl", "keys"})


class ConfigError(ValueError):
    """The file cannot be used, and why."""


def load(path: Path) -> dict[str, Any]:
    """Read the file.

    Parameters
    ----------
    path
        The file. Paths in it are relative to where it lies.

    Returns
    -------
    dict
        ``listeners``, and keyword arguments of `rmqtt.Broker`.

    Raises
    ------
    ConfigError
        It is no TOML, or a key is not known, or a value is not of its type.
    OSError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return _File(path).broker(table)


class _File:
    """One file, for what is said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def broker(self, table: dict[str, Any]) -> dict[str, Any]:
        self.check_keys(table, "", (*_TOP, *_TABLES))
        options = {key: self.value(key, kind, table[key]) for key, kind in _TOP.items() if key in table}
        if "listener" in table:
            listeners = self.of_type("listener", table["listener"], list, "written as [[listener]]")
            options["listeners"] = [self.listener(f"listener[{n}]", one) for n, one in enumerate(listeners)]
        if "auth" in table:
            options["auth"] = self.auth(self.table("auth", table["auth"]), "auth")
        if "acl" in table:
            options["acl"] = self.acl(self.table("acl", table["acl"]), "acl")
        for key, kind in (("auth_limits", AuthLimits), ("limits", Limits), ("features", Features)):
            if key in table:
                options[key] = self.make(kind, key, table[key])
        return options

    def listener(self, where: str, table: Any) -> Listener:
        values = dict(self.table(where, table))
        if "url" not in values:
            raise self.error(where, "has no url")
        self.check_keys(values, where, [field.name for field in fields(Listener)])
        given: dict[str, Any] = {}
        if "tls" in values:
            given["tls"] = self.make(TLS, f"{where}.tls", values.pop("tls"))
        for key, read in (("auth", self.auth), ("acl", self.acl)):
            if key in values:
                value = values.pop(key)
                given[key] = None if value is False else read(self.table(f"{where}.{key}", value), f"{where}.{key}")
        return self.make(Listener, where, values, without=("tls", "auth", "acl"), **given)

    def auth(self, table: dict[str, Any], where: str) -> list[AuthSource]:
        self.check_keys(table, where, _AUTH)
        # They are asked in the order in which they stand.
        sources = [source for key in table for source in self.sources(key, table[key], f"{where}.{key}")]
        if not sources:
            raise self.error(where, f"needs one of {', '.join(_AUTH)}")
        return sources

    def sources(self, key: str, value: Any, where: str) -> list[AuthSource]:
        if key == "jwt":
            return [self.jwt(self.table(where, value), where)]
        files = self.value(where, "Sequence[str]" if key == "password_files" else "str", value)
        if key == "users_file":
            try:
                return [read_users(Path(self.beside(files)))]
            except ValueError as error:
                raise ConfigError(f"{self.path}: {where}: {error}") from None
        if not files:
            raise self.error(where, "names no file")
        return [PasswordFile(self.beside(file)) for file in ([files] if isinstance(files, str) else files)]

    def jwt(self, table: dict[str, Any], where: str) -> JWT:
        if "keys" not in table:
            raise self.error(where, "has no keys")
        return self.make(JWT, where, table)

    def acl(self, table: dict[str, Any], where: str) -> Acl | AclFile:
        if "file" in table:
            self.check_keys(table, where, ("file",))
            self.value(f"{where}.file", "str", table["file"])
            return AclFile(self.beside(table["file"]))
        own = {key: value for key, value in table.items() if key not in ("users", "clients")}
        others = {
            kind: {
                name: self.make(Acl, f"{where}.{kind}.{name}", rules, without=("users", "clients"))
                for name, rules in self.table(f"{where}.{kind}", table.get(kind, {})).items()
            }
            for kind in ("users", "clients")
        }
        return self.make(Acl, where, own, **others)

    def make(self, kind: type[T], where: str, table: Any, *, without: Iterable[str] = (), **given: Any) -> T:
        """Make one of these, whose fields are the keys."""
        values = self.table(where, table)
        types = {field.name: str(field.type) for field in fields(kind) if field.name not in without}  # type: ignore[arg-type]
        self.check_keys(values, where, types)
        read = {key: self.value(f"{where}.{key}", types[key], value) for key, value in values.items()}
        try:
            return kind(**read, **given)
        except (TypeError, ValueError) as error:
            raise self.error(where, str(error)) from None

    def value(self, where: str, kind: str, value: Any) -> Any:
        if not any(_is_of(value, one) for one in _split(kind)):
            # Not what it is: it may be a secret.
            raise self.error(where, f"must be {_in_words(kind)}, not {_name_of(value)}")
        is_path = where.rpartition(".")[2] in _PATHS and isinstance(value, str) and "-----BEGIN" not in value
        return self.beside(value) if is_path else value

    def table(self, where: str, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.of_type(where, value, dict, "a table")
        return found

    def of_type(self, where: str, value: Any, kind: type, words: str) -> Any:
        if not isinstance(value, kind):
            raise self.error(where, f"must be {words}, not {_name_of(value)}")
        return value

    def check_keys(self, table: Iterable[str], where: str, known: Iterable[str]) -> None:
        known = list(known)
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
                raise self.error(f"{where}.{key}" if where else key, f"is not known; {hint}")

    def beside(self, path: str) -> str:
        """Where a path leads that is relative to the file."""
        return str(self.path.parent / path)

    def error(self, where: str, what: str) -> ConfigError:
        return ConfigError(f"{self.path}: {where} {what}")


def _split(kind: str) -> list[str]:
    """Take a union apart."""
    return [one.strip() for one in kind.split("|")]


def _is_of(value: Any, kind: str) -> bool:
    if kind.startswith("Literal["):
        return value in _literals(kind)
    if kind == "QoSLike":
        return value in (0, 1, 2) and not isinstance(value, bool)
    if kind == "Sequence[str]":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    types: dict[str, type | tuple[type, ...]] = {
        "bool": bool,
        "int": int,
        "float": (int, float),
        "str": str,
        "Material": str,
    }
    return kind in types and isinstance(value, types[kind]) and (kind == "bool" or not isinstance(value, bool))


def _literals(kind: str) -> list[object]:
    return list(ast.literal_eval(f"[{kind.removeprefix('Literal[').removesuffix(']')}]"))


def _in_words(kind: str) -> str:
    words = {
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "Material": "a path, or PEM text",
        "QoSLike": "0, 1 or 2",
        "Sequence[str]": "a list of texts",
    }
    named = [
        ", ".join(map(repr, _literals(one))) if one.startswith("Literal[") else words.get(one, "")
        for one in _split(kind)
    ]
    return " or ".join(word for word in named if word)


def _name_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a fraction", str: "text", list: "a list", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")
