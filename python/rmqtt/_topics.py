"""`TopicTemplate` and `TopicMatcher`: topics taken apart, and values found by them."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Generic, TypeVar

from rmqtt._rmqtt import NativeTemplate, topic_matches

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TopicMatcher", "TopicTemplate"]

_T = TypeVar("_T")


class TopicTemplate:
    """A topic filter whose levels have names. `Client.subscribe` takes such a text for a filter.

    A level ``{name}`` stands for any one level, as ``+`` does, and names it. ``{{name}}`` is the level ``{name}``
    itself; ``+`` and a last ``#`` are as in any filter, and other braces are characters like others.

    Parameters
    ----------
    template
        Such as ``"plant/{site}/{sensor}"``; with ``$share/group/`` before it, if you like.

    Raises
    ------
    TopicError
        It is no topic filter, or gives one name to two levels.

    Examples
    --------
    >>> template = TopicTemplate("plant/{site}/{sensor}")
    >>> template.filter
    'plant/+/+'
    >>> template.match("plant/7/temperature")
    {'site': '7', 'sensor': 'temperature'}
    >>> template.match("elsewhere") is None
    True
    """

    __slots__ = ("_native", "_text")

    def __init__(self, template: str, /) -> None:
        self._text = template
        self._native = NativeTemplate(template)

    @property
    def filter(self) -> str:
        """What to subscribe to: the names are gone."""
        return self._native.filter

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in their order."""
        return tuple(self._native.names)

    def match(self, topic: str, /) -> dict[str, str] | None:
        """Say what stands in a topic where the names are.

        Parameters
        ----------
        topic
            Topic name.

        Returns
        -------
        dict of str to str, or None
            `None`: the topic does not match.

        Raises
        ------
        TopicError
            It is no topic name.

        Examples
        --------
        >>> TopicTemplate("plant/{site}/#").match("plant/7/line/2")
        {'site': '7'}
        """
        return self._native.params(topic)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicTemplate) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[TopicTemplate], tuple[str]]:
        return TopicTemplate, (self._text,)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"TopicTemplate({self._text!r})"


class _Node(Generic[_T]):
    """One level of the filters below it, and the value of the filter that ends here."""

    __slots__ = ("below", "values")

    def __init__(self) -> None:
        self.below: dict[str, _Node[_T]] = {}
        self.values: list[tuple[str, _T]] = []


class TopicMatcher(MutableMapping[str, _T]):
    """A mapping from topic filters to values, which finds the values of all filters that match a topic.

    Looking takes as long as the topic has levels, however many filters there are. It is not safe to change it in one
    thread while another looks.

    Examples
    --------
    >>> handlers = TopicMatcher()
    >>> handlers["plant/+/temperature"] = "thermometer"
    >>> handlers["plant/#"] = "log"
    >>> sorted(handlers.match("plant/7/temperature"))
    ['log', 'thermometer']
    >>> handlers["plant/#"], len(handlers)
    ('log', 2)
    """

    __slots__ = ("_count", "_root")

    def __init__(self) -> None:
        self._root: _Node[_T] = _Node()
        self._count = 0

    def match(self, topic: str, /) -> Iterator[_T]:
        """Give the values of all filters that match a topic, in no particular order.

        Parameters
        ----------
        topic
            Topic name. As in MQTT, one that begins with ``$`` is not matched by a wildcard in the first level.

        Raises
        ------
        TopicError
            It is no topic name.

        Examples
        --------
        >>> matcher = TopicMatcher()
        >>> matcher["#"] = 1
        >>> list(matcher.match("plant")), list(matcher.match("$SYS/uptime"))
        ([1], [])
        """
        topic_matches("#", topic)  # is it a topic at all?
        levels = topic.split("/")
        nodes = [self._root]
        for depth, level in enumerate(levels):
            wild = depth > 0 or not topic.startswith("$")
            if wild:
                for node in nodes:
                    yield from _values(node.below.get("#"))
            keys = (level, "+") if wild else (level,)
            nodes = [below for node in nodes for key in keys if (below := node.below.get(key)) is not None]
        for node in nodes:
            yield from _values(node)
            yield from _values(node.below.get("#"))

    def __setitem__(self, filter: str, value: _T) -> None:
        node = self._root
        for level in _levels(filter):
            node = node.below.setdefault(level, _Node())
        self._count += not node.values
        node.values = [(filter, value)]

    def __getitem__(self, filter: str) -> _T:
        node: _Node[_T] | None = self._root
        for level in _levels(filter):
            node = node.below.get(level) if node is not None else None
        if node is None or not node.values:
            raise KeyError(filter)
        return node.values[0][1]

    def __delitem__(self, filter: str) -> None:
        path = [(self._root, "")]
        for level in _levels(filter):
            node = path[-1][0].below.get(level)
            if node is None:
                raise KeyError(filter)
            path.append((node, level))
        if not path[-1][0].values:
            raise KeyError(filter)
        path[-1][0].values = []
        self._count -= 1
        while len(path) > 1 and not path[-1][0].values and not path[-1][0].below:
            _, level = path.pop()
            del path[-1][0].below[level]

    def __iter__(self) -> Iterator[str]:
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            nodes.extend(node.below.values())
            yield from (own for own, _ in node.values)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<TopicMatcher of {self._count} filters>"


def _values(node: _Node[_T] | None) -> Iterator[_T]:
    if node is not None:
        for _, value in node.values:
            yield value


def _levels(filter: str) -> list[str]:
    topic_matches(filter, "a")  # is it a filter at all?
    return filter.split("/")
