"""The query language of QuickBooks: what it accepts, and the words in which it refuses.

The wording of the refusals is that of the JavaCC parser Intuit runs, as recorded.
"""

import re
from dataclasses import dataclass

from services.sandbox.quickbooks.wire import Fault

TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:\\.|[^'\\])*')|(?P<number>-?\d+(?:\.\d+)?)(?![\w])|(?P<word>[A-Za-z_][\w]*(?:\.[A-Za-z_][\w]*)*)"
    r"|(?P<sign><=|>=|<|>|=|\*|\(|\)|,))"
)
KEYWORDS = frozenset(
    {"select", "from", "where", "and", "or", "order", "by", "orderby", "asc", "desc", "in", "like",
     "startposition", "maxresults", "iterator", "true", "false", "count"}
)  # fmt: skip
SIGNS = ("=", "<", ">", "<=", ">=")
PAGE = 100
LARGEST_PAGE = 1000

AFTER_CONDITION = ("<EOF> ", "<AND> ...", '"iterator" ...', '"maxresults" ...', "<OR> ...", '"order" ...',
                   '"orderby" ...', '"startposition" ...')  # fmt: skip
AFTER_ENTITY = ("<EOF> ", '"iterator" ...', '"maxresults" ...', '"order" ...', '"orderby" ...',
                '"startposition" ...', '"where" ...')  # fmt: skip
TAIL = ("<EOF> ", '"iterator" ...', '"maxresults" ...', '"startposition" ...')


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    column: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind in ("word", "keyword") else self.text


@dataclass(frozen=True, slots=True)
class Literal:
    """A value of a condition; `text` is what stood there, unescaped."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    operator: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Order:
    name: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """One statement. `names` is empty for `*`; `count` for `count(*)`. `start` is 1-based."""

    entity: str
    names: tuple[str, ...]
    count: bool
    conditions: tuple[Condition, ...]
    orders: tuple[Order, ...]
    start: int
    size: int


def parsing_fault(detail: str) -> Fault:
    return Fault("4000", "Error parsing query", f"QueryParserError: {detail}")


def validation_fault(detail: str) -> Fault:
    return Fault("4001", "Invalid query", f"QueryValidationError: {detail}")


def tokens(text: str) -> list[Token]:
    """The words of a statement; columns count from 1."""
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            column = at + len(text[at:]) - len(text[at:].lstrip())
            odd = text[column]
            raise parsing_fault(
                f'Invalid content. Lexical error at line 1, column {column + 1}.  Encountered: "{odd}" ({ord(odd)}),'
                ' after : ""'
            )
        group = str(match.lastgroup)
        word = match[group]
        kind = "keyword" if group == "word" and word.lower() in KEYWORDS else group
        found.append(Token(kind, word, match.start(group) + 1))
        at = match.end()
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0

    @property
    def token(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def refuse(self, expected: tuple[str, ...]) -> Fault:
        token = self.token
        if token is None:
            last = self._tokens[-1] if self._tokens else None
            where = f"line 1, column {last.column + len(last.text) - 1}" if last else "line 0, column 0"
            detail = f'Encountered "<EOF>" at {where}.'
        else:
            kind = {"string": "<STRING>", "number": "<NUMBER>", "word": "<IDENTIFIER>"}.get(token.kind)
            seen = f" {kind} " if kind else " "
            detail = f'Encountered "{seen}"{token.text} "" at line 1, column {token.column}.'
        if expected:
            one = "Was expecting one of" if len(expected) > 1 else "Was expecting"
            lines = "".join(f"\n    {word}" for word in expected)
            detail += f"\n{one}:{lines}\n    "
        return parsing_fault(detail)

    def take(self, *words: str) -> Token | None:
        token = self.token
        if token is not None and token.kind != "string" and token.word in words:
            self._at += 1
            return token
        return None

    def need(self, word: str) -> Token:
        token = self.take(word)
        if token is None:
            raise self.refuse((f'"{word}" ...',))
        return token

    def name(self) -> str:
        token = self.token
        if token is None or token.kind != "word":
            raise self.refuse(("<IDENTIFIER> ...",))
        self._at += 1
        return token.text

    def literal(self) -> Literal:
        token = self.token
        if token is not None and token.kind == "string":
            self._at += 1
            return Literal(re.sub(r"\\(.)", r"\1", token.text[1:-1]), True)
        if token is not None and (token.kind == "number" or token.word in ("true", "false")):
            self._at += 1
            return Literal(token.text, False)
        raise self.refuse(("<STRING> ...", "<NUMBER> ...", "<BOOLEAN> ..."))

    def integer(self) -> int:
        token = self.token
        if token is None or token.kind != "number" or "." in token.text:
            raise self.refuse(("<NUMBER> ...",))
        self._at += 1
        return int(token.text)


def parse(text: str, *, start_zero: bool = False) -> Query:
    """Reads one statement; raises the 4000 and 4001 faults. `start_zero`: `STARTPOSITION 0` is taken for 1."""
    reader = _Reader(text)
    reader.need("select")
    count, names = _selection(reader)
    reader.need("from")
    entity = reader.name()
    conditions: list[Condition] = []
    if reader.take("where"):
        conditions.append(_condition(reader))
        while reader.take("and"):
            conditions.append(_condition(reader))
    orders = _orders(reader)
    start, size = _page(reader, start_zero)
    if reader.token is not None:
        tail = TAIL if orders else AFTER_CONDITION if conditions else AFTER_ENTITY
        raise reader.refuse(tail)
    return Query(entity, names, count, tuple(conditions), orders, start, size)


def _selection(reader: _Reader) -> tuple[bool, tuple[str, ...]]:
    if reader.take("count"):
        for sign in "(*)":
            reader.need(sign)
        return True, ()
    if reader.take("*"):
        while reader.take(","):
            reader.name()
        return False, ()
    names = [reader.name()]
    while reader.take(","):
        names.append(reader.name())
    return False, tuple(names)


def _condition(reader: _Reader) -> Condition:
    name = reader.name()
    if reader.take("in"):
        reader.need("(")
        values = [reader.literal()]
        while reader.take(","):
            values.append(reader.literal())
        reader.need(")")
        return Condition(name, "in", tuple(values))
    operator = reader.take(*SIGNS, "like")
    if operator is None:
        raise reader.refuse(('"<" ...', '"<=" ...', '"=" ...', '">" ...', '">=" ...', "<IN> ...", "<LIKE> ..."))
    return Condition(name, operator.word, (reader.literal(),))


def _orders(reader: _Reader) -> tuple[Order, ...]:
    if reader.take("order"):
        reader.need("by")
    elif not reader.take("orderby"):
        return ()
    orders = []
    while True:
        name = reader.name()
        descending = reader.take("desc") is not None
        if not descending:
            reader.take("asc")
        orders.append(Order(name, descending))
        if not reader.take(","):
            return tuple(orders)


def _page(reader: _Reader, start_zero: bool) -> tuple[int, int]:
    """`STARTPOSITION` and `MAXRESULTS`, in either order."""
    given: dict[str, int] = {}
    while (word := reader.take("startposition", "maxresults")) is not None and word.word not in given:
        given[word.word] = reader.integer()
    if start_zero and given.get("startposition") == 0:
        del given["startposition"]
    for value in given.values():
        if value < 1:
            raise validation_fault(f"value {value} is too small. Min allowed value is 1")
    size = given.get("maxresults", PAGE)
    if size > LARGEST_PAGE:
        raise validation_fault(f"value {size} is too large. Max allowed value is {LARGEST_PAGE}")
    return given.get("startposition", 1), size
