"""Which of a bill's files is the invoice.

QuickBooks says of no file what it is, so its name and form speak for it: points for what makes an invoice
likely, against what makes another paper likely. More points win, then the file attached first; so the choice
is always the same whatever order the files come in, and a file attached later takes the place of the chosen
one only if more speaks for it.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from common.messages import Bill, Document, Record

LARGEST = 10_000_000
"""Bytes; Qonto takes no file of more than 10 MB, and does not say which kind of megabyte that is."""

REDUCIBLE = 100 * 1024 * 1024
"""Bytes up to which a file may be made small enough; QuickBooks takes no larger one."""

TYPES = {"application/pdf": "pdf", "image/jpeg": "jpg", "image/png": "png"}
"""What Qonto takes, with the extension of the file name."""

TINY = 16 * 1024
"""Bytes below which an image is not the scan of a page but a logo or an icon of a mail."""

_TOLD = 4
"""Files named in an explanation; the rest is counted."""
_SHORTEST_NUMBER = 3
"""Letters and digits of a bill's number below which a name may contain it by chance."""


class Hint(NamedTuple):
    """Words that say what a paper is, in the languages of Qonto's markets, and the points they are worth.

    A word of the table stands at the beginning of a word of the name; `…word` may stand anywhere in it, as in
    German compounds, and `word.` is the whole of it.
    """

    means: str
    points: int
    words: str


NUMBERED, PDF, SMALL = 8, 2, -40

HINTS = (
    Hint(
        "is named like an invoice",
        4,
        "invoice einvoice bill. bills. factur faktur faktuur fattur fatur …rechnung parcella bolletta",
    ),
    Hint(
        "is named like an order",
        -6,
        "order. orders. po. commande bc. …bestellung auftragsbest ordine pedido encomenda bestelling bestelbon",
    ),
    Hint(
        "is named like a delivery note",
        -6,
        "delivery packing livraison bl. …lieferschein ddt. bolla. albaran pakbon leverbon leveringsbon remessa",
    ),
    Hint(
        "is named like a quote",
        -6,
        "quote quotation estimate devis …angebot kostenvoranschlag preventivo presupuesto offert orcamento proforma",
    ),
    Hint("is named like a contract", -6, "contract contrat …vertrag contratt agreement overeenkomst"),
    Hint(
        "is named like a reminder or statement",
        -6,
        "reminder dunning statement rappel relance …mahnung zahlungserinnerung sollecito recordatorio lembrete "
        "herinnering aanmaning releve kontoauszug estratto extracto extrato",
    ),
    Hint(
        "is named like terms",
        -6,
        "terms conditions agb. cgv. cgu. geschaftsbedingungen condizioni condiciones condicoes voorwaarden",
    ),
    Hint("is named like a logo or signature", -20, "logo signature signatur unterschrift icon banner handtekening"),
)
"""Where a name says both, what speaks against an invoice outweighs the word, but not the bill's number."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The supplier's document to use, if any; `note` says why this one, or why none of those that are there."""

    document: Document | None
    note: str | None

    @property
    def extension(self) -> str:
        """Of the file name."""
        return TYPES[self.document.content_type] if self.document is not None else "pdf"


class Weighed(NamedTuple):
    """A file with its points, and what they are for."""

    document: Document
    points: int
    reasons: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """Smaller is better; ids of attachments grow, so of equals the first attached comes first."""
        return -self.points, len(self.document.attachable), self.document.attachable, self.document.sha256

    def __str__(self) -> str:
        return f"{self.document.name:.60} ({', '.join(self.reasons) or 'nothing speaks for it'})"


def choose(record: Record) -> Choice:
    """The file that most likely is the bill's invoice, of those Qonto takes."""
    number = record.body.number if isinstance(record.body, Bill) else None
    refused = [(document, why) for document in record.documents if (why := refusal(document)) is not None]
    unfit = {document for document, _ in refused}
    ranked = sorted(
        (weigh(document, number) for document in record.documents if document not in unfit),
        key=lambda weighed: weighed.rank,
    )
    passed = [
        f"{document.name:.60} {why}"
        for document, why in sorted(refused, key=lambda item: (len(item[0].attachable), item[0].attachable, item[1]))
    ]
    if not ranked:
        note = f"drawn from the bill, as none of its files can be used: {_listed(passed)}" if passed else None
        return Choice(document=None, note=note)
    best, *others = ranked
    if not others and not passed:
        return Choice(document=best.document, note=None)
    passed = [*map(str, others), *passed]
    note = f"of {len(record.documents)} files {best} was taken for the invoice, not {_listed(passed)}"
    return Choice(document=best.document, note=note)


def flawed(document: Document, flaw: str) -> Document:
    """The document once it is known by its bytes that it cannot be used; `flaw` completes "the file …"."""
    return msgspec.structs.replace(document, content_type=f"{document.content_type}; {flaw}")


def refusal(document: Document) -> str | None:
    """Why the file cannot be the bill's document, or None."""
    content_type, _, flaw = document.content_type.partition("; ")
    if flaw:
        return flaw
    if content_type not in TYPES:
        return f"is {content_type}"
    return None if 0 < document.size <= REDUCIBLE else f"has {document.size} bytes"


def weigh(document: Document, number: str | None) -> Weighed:
    """The points of a file Qonto takes, for a bill of that number."""
    name = _folded(document.name)
    found: list[tuple[int, str]] = []
    if number is not None and _has(name, _folded(number)):
        found.append((NUMBERED, "its name has the bill's number"))
    found += [(hint.points, hint.means) for hint, pattern in _PATTERNS if pattern.search(name)]
    if document.content_type == "application/pdf":
        found.append((PDF, "is a PDF"))
    elif document.size < TINY:
        found.append((SMALL, "is a very small image"))
    return Weighed(document, sum(points for points, _ in found), tuple(reason for _, reason in found))


def _listed(passed: Sequence[str]) -> str:
    more = f" and {len(passed) - _TOLD} more" if len(passed) > _TOLD else ""
    return "; ".join(passed[:_TOLD]) + more


def _has(name: str, number: str) -> bool:
    """Whether the number stands in the name, however it is punctuated, and is not part of a longer one."""
    marks = [mark for mark in number if mark.isalnum()]
    if len(marks) < _SHORTEST_NUMBER or not any(mark.isdigit() for mark in marks):
        return False
    before = r"(?<!\d)" if marks[0].isdigit() else ""
    after = r"(?!\d)" if marks[-1].isdigit() else ""
    return re.search(before + r"[\W_]*".join(map(re.escape, marks)) + after, name) is not None


def _folded(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(mark))


def _pattern(words: str) -> re.Pattern[str]:
    """Finds any of the words of a table; letters only make words, so digits and underscores part them."""
    edge, end = r"(?<![^\W\d_])", r"(?![^\W\d_])"
    parts: list[str] = []
    for word in words.split():
        bare = re.escape(word.strip("…."))
        parts.append(bare if word.startswith("…") else edge + bare + (end if word.endswith(".") else ""))
    return re.compile("|".join(parts))


_PATTERNS = tuple((hint, _pattern(hint.words)) for hint in HINTS)
