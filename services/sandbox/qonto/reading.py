"""Reads a supplier's document: the text of a PDF, its layout, and what the label words say it means."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pypdfium2

PAGES = 3

NUMBER_LABELS = (
    r"(?:invoice|bill|credit note|document)\s*(?:number|no\b\.?|nr\b\.?|#|n°|id\b)",
    r"(?:num[ée]ro|n[°ºo]\.?)\s*(?:de\s+|d['’])?(?:la\s+)?(?:facture|avoir)",
    r"(?:facture|avoir)\s*(?:num[ée]ro|n[°ºo])",
    r"(?:rechnung|gutschrift)s?[\s-]*(?:nummer|nr\b\.?)",
    r"(?:factuur|creditnota)\s*(?:nummer|nr\b\.?)",
    r"(?:n[úu]mero|n[°ºo.]+)\s*(?:de\s+)?(?:factura|abono)",
    r"factura\s*(?:n[°ºo.]+|n[úu]mero)",
    r"(?:numero|n[°ºo.]*)\s*(?:di\s+)?(?:fattura|nota di credito)",
    r"fattura\s*(?:n[°ºo.]+|numero)",
    r"(?:reference|r[ée]f[ée]rence)\s*(?:number)?",
)
ISSUED_LABELS = (
    r"(?:invoice|issue|bill|document|credit note)\s*date|date\s*(?:of\s*issue|issued)|issued(?:\s*on)?",
    r"date\s*(?:de\s*(?:la\s*)?facture|de\s*facturation|d['’][ée]mission|de\s*l['’]avoir)",
    r"(?:rechnungs|ausstellungs|gutschrifts|beleg)datum",
    r"factuurdatum|datum\s*factuur",
    r"fecha\s*(?:de\s*)?(?:la\s*)?(?:factura|emisi[óo]n|expedici[óo]n)",
    r"data\s*(?:della\s*)?(?:fattura|emissione|documento)",
    r"(?:date|datum|fecha|data)(?!\s*(?:d['’]|of|de|di|scad|éch))",
)
DUE_LABELS = (
    r"due\s*(?:date|on|by)?|payment\s*due|payable\s*by",
    r"(?:date\s*d['’])?[ée]ch[ée]ance|[àa]\s*r[ée]gler\s*(?:avant|le)",
    r"f[äa]llig(?:\s*am|keitsdatum)?|zahlbar\s*bis",
    r"vervaldatum|te\s*betalen\s*(?:v[óo][óo]r|voor)",
    r"(?:fecha\s*de\s*)?vencimiento",
    r"(?:data\s*(?:di\s*)?)?scadenza",
)
TOTAL_LABELS = (
    r"(?:total\s*ttc|montant\s*ttc|net\s*[àa]\s*payer)",
    r"(?:gesamtbetrag|rechnungsbetrag|gesamtsumme|zu\s*zahlen(?:der\s*betrag)?|gesamt\s*\(?brutto\)?)",
    r"(?:totaal\s*incl[\w.]*\s*btw|te\s*betalen|totaalbedrag)",
    r"(?:total\s*a\s*pagar|importe\s*total|total\s*factura)",
    r"(?:totale\s*(?:fattura|da\s*pagare|documento))",
    r"(?:grand\s*total|total\s*(?:due|amount|payable|incl[\w.]*)|amount\s*due|balance\s*due|total\s*\(incl)",
    r"(?:total|totale|totaal|gesamt|summe)(?!\s*(?:ht|tva|vat|tax|net|excl|hors|mwst|btw|iva|ust|imponibile|de\s))",
)
NET_LABELS = (
    r"sub\s*-?total|total\s*(?:ht|hors|net|excl)|montant\s*ht|net\s*(?:amount|total)",
    r"(?:netto(?:betrag)?|zwischensumme|summe\s*netto)",
    r"subtotaal|totaal\s*excl",
    r"base\s*imponible|imponibile|totale\s*imponibile",
)
TAX_LABELS = (
    r"(?:total\s*)?(?:tva|vat|mwst\.?|ust\.?|btw|iva|sales\s*tax|tax(?:es)?)(?![\s\-.]*(?:id|no|nr|n°|number|reg|intra|nif))",
)
SUPPLIER_LABELS = (
    r"(?:supplier|vendor|seller|from|fournisseur|[ée]metteur|vendeur|lieferant|leverancier|proveedor|fornitore)",
)
CREDIT_WORDS = re.compile(
    r"\b(credit\s*note|avoir|gutschrift|creditnota|factura\s*rectificativa|nota\s*de\s*cr[ée]dito|nota\s*di\s*credito)\b",
    re.IGNORECASE,
)
INVOICE_WORDS = re.compile(r"\b(invoice|facture|rechnung|factuur|factura|fattura|bill)\b", re.IGNORECASE)
RECEIPT_WORDS = re.compile(r"\b(receipt|re[çc]u|ticket|quittung|bon|recibo|ricevuta)\b", re.IGNORECASE)
TITLES = re.compile(
    r"^\W*(?:(?:tax|pro\s*forma)?\s*(?:invoice|bill|credit\s*note|facture|avoir|rechnung|gutschrift|factuur|creditnota|"
    r"factura|nota|fattura|receipt|re[çc]u)\b.*|\d[\d\W]*)$",
    re.IGNORECASE,
)

# Lines of facts, which can be as high as a small name; the bare word for "date" may begin a name.
FACTS = re.compile(rf"^\W*(?:{'|'.join((*NUMBER_LABELS, *ISSUED_LABELS[:-1], *DUE_LABELS))})(?!\w)", re.IGNORECASE)

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january januar janvier januari enero gennaio jan janv ene gen",
            "february februar février fevrier februari febrero febbraio feb févr fév",
            "march märz maerz mars maart marzo mar mär mrt",
            "april avril abril aprile apr avr abr",
            "may mai mei mayo maggio mag",
            "june juni juin junio giugno jun giu",
            "july juli juillet julio luglio jul juil lug",
            "august août aout augustus agosto aug ago",
            "september septembre septiembre settembre sep sept set",
            "october oktober octobre octubre ottobre oct okt ott",
            "november novembre noviembre nov",
            "december dezember décembre decembre diciembre dicembre dec dez déc dic",
        ),
        1,
    )
    for name in names.split()
}
NUMBER = re.compile(r"\w[\w\-/._]*(?: [\w\-/._]*\d[\w\-/._]*)*")
DATE = re.compile(
    r"(?P<iso>\d{4}-\d{2}-\d{2})|(?P<day>\d{1,2})[./-](?P<month>\d{1,2})[./-](?P<year>\d{4})"
    r"|(?P<d2>\d{1,2})\.?(?:er)?\s+(?:de\s+)?(?P<m2>[^\W\d]+)\.?\s+(?:de\s+)?(?P<y2>\d{4})"
    r"|(?P<m3>[^\W\d]+)\.?\s+(?P<d3>\d{1,2}),?\s+(?P<y3>\d{4})"
)
SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "US$": "USD"}
CODES = (
    "AED|ALL|AMD|ARS|AUD|AZN|BAM|BDT|BGN|BHD|BIF|BOB|BRL|BWP|BYN|CAD|CHF|CLP|CNY|COP|CRC|CZK|DJF|DKK|DOP|DZD|EGP|ETB|"
    "EUR|GBP|GEL|GHS|GNF|GTQ|HKD|HUF|IDR|ILS|INR|IQD|ISK|JOD|JPY|KES|KMF|KRW|KWD|KZT|LBP|LKR|LYD|MAD|MDL|MKD|MUR|MXN|"
    "MYR|NGN|NOK|NZD|OMR|PEN|PHP|PKR|PLN|PYG|QAR|RON|RSD|RWF|SAR|SEK|SGD|THB|TND|TRY|TWD|TZS|UAH|UGX|USD|UYU|UZS|VND|"
    "VUV|XAF|XOF|XPF|ZAR|ZMW"
)
THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
AMOUNT = re.compile(
    rf"(?P<minus>[-−])?(?P<before>US\$|[€$£]|\b(?:{CODES})\b)?\s*(?P<sign>[-−])?\s*"
    r"(?P<digits>\d{1,3}(?:[\s.,'’]\d{3})+(?:[.,]\d{2,3})?(?!\d)|\d+(?:[.,]\d{2,3})?)"
    rf"\s*(?P<after>[€$£]|\b(?:{CODES})\b)?(?![\d%]|[.,]\d)(?!\s*%)"
)
VAT = re.compile(
    r"\b(FR ?[0-9A-Z]{2} ?\d{3} ?\d{3} ?\d{3}|DE ?\d{9}|NL ?\d{9} ?B\d{2}|ES ?[A-Z0-9]\d{7}[A-Z0-9]|IT ?\d{11}"
    r"|BE ?[01]\d{9}|GB ?\d{3} ?\d{4} ?\d{2}|CHE-?\d{3}\.?\d{3}\.?\d{3}|IE ?\d{7}[A-Z]{1,2}|ATU\d{8}|LU ?\d{8})\b"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text on the page, in points; `top` > `bottom`."""

    left: float
    bottom: float
    right: float
    top: float
    text: str

    @property
    def size(self) -> float:
        return self.top - self.bottom


@dataclass(frozen=True, slots=True)
class Reading:
    """What a document says; None where nothing was found."""

    text: str = ""
    supplier: str | None = None
    number: str | None = None
    issued: date | None = None
    due: date | None = None
    total: Decimal | None = None
    net: Decimal | None = None
    tax: Decimal | None = None
    currency: str | None = None
    vat_number: str | None = None
    iban: str | None = None
    credit_note: bool = False
    category: str = "UNKNOWN"


def read_document(content: bytes) -> Reading:
    """Reads a PDF; anything that is not one, or holds no text, gives an empty reading."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError:
        return Reading()
    try:
        pieces = [piece for page in range(min(len(document), PAGES)) for piece in _pieces(document[page], page)]
    finally:
        document.close()
    return interpret(pieces)


def _pieces(page: "pypdfium2.PdfPage", index: int) -> Iterator[Piece]:
    text = page.get_textpage()
    lower = index * page.get_height()
    for left, bottom, right, top in _joined(text.get_rect(position) for position in range(text.count_rects())):
        words = " ".join(text.get_text_bounded(left, bottom, right, top).split())
        if words:
            yield Piece(left, bottom - lower, right, top - lower, words)


def _joined(boxes: Iterable[Box]) -> Iterator[Box]:
    """Boxes that touch on one line as one: a name in two scripts is one name, whatever side its words are added to."""
    whole: Box | None = None
    for box in boxes:
        if whole is not None and _touch(whole, box):
            whole = (min(whole[0], box[0]), min(whole[1], box[1]), max(whole[2], box[2]), max(whole[3], box[3]))
            continue
        if whole is not None:
            yield whole
        whole = box
    if whole is not None:
        yield whole


def _touch(one: Box, other: Box) -> bool:
    low = min(one[3] - one[1], other[3] - other[1])
    beside = max(other[0] - one[2], one[0] - other[2])
    overlap = min(one[3], other[3]) - max(one[1], other[1])
    return overlap > 0.5 * low and beside < 0.35 * max(one[3] - one[1], other[3] - other[1])


def interpret(pieces: list[Piece]) -> Reading:
    """The meaning of a page's pieces."""
    text = "\n".join(piece.text for piece in pieces)
    if not text:
        return Reading()
    total = _amount(_value(pieces, TOTAL_LABELS, AMOUNT, last=True))
    net, tax = _amount(_value(pieces, NET_LABELS, AMOUNT)), _amount(_value(pieces, TAX_LABELS, AMOUNT, last=True))
    number = _value(pieces, NUMBER_LABELS, NUMBER)
    credit = CREDIT_WORDS.search(text) is not None
    vat, iban = VAT.search(text), next((m[0] for m in IBAN.finditer(text) if _sound(m[0])), None)
    return Reading(
        text=text,
        supplier=_supplier(pieces),
        number=number[0].strip() if number else None,
        issued=_date(_value(pieces, ISSUED_LABELS, DATE)),
        due=_date(_value(pieces, DUE_LABELS, DATE)),
        total=total[0] if total else None,
        net=net[0] if net else None,
        tax=tax[0] if tax else None,
        currency=(total[1] if total else None) or _currency(text),
        vat_number=vat[0].replace(" ", "") if vat else None,
        iban=iban.replace(" ", "") if iban else None,
        credit_note=credit,
        category=_category(text, credit, total is not None),
    )


def _category(text: str, credit: bool, has_total: bool) -> str:
    if credit:
        return "CREDIT_NOTE"
    if INVOICE_WORDS.search(text):
        return "INVOICE"
    if RECEIPT_WORDS.search(text):
        return "EXPENSE_RECEIPT"
    return "OTHER_FINANCIAL_DOCUMENT" if has_total else "OTHER_NON_FINANCIAL_DOCUMENT"


def _value(
    pieces: list[Piece], labels: tuple[str, ...], pattern: re.Pattern[str], *, last: bool = False
) -> re.Match[str] | None:
    """What stands behind, right of or below the first label that has such a value; labels in their order."""
    for label in labels:
        wanted = re.compile(rf"^\W*(?:{label})(?:\b|(?<=\W))[^\w\n]{{0,4}}", re.IGNORECASE)
        for piece in reversed(pieces) if last else pieces:
            start = wanted.match(piece.text)
            if start is None:
                continue
            rest = piece.text[start.end() :]
            for candidate in [rest.lstrip(" :#.-–"), *_beside(pieces, piece), *_below(pieces, piece)]:
                found = pattern.match(candidate) or (pattern is AMOUNT and pattern.search(candidate)) or None
                if found and any(character.isdigit() for character in found[0]):
                    return found
    return None


def _beside(pieces: list[Piece], label: Piece) -> list[str]:
    return [piece.text.lstrip(" :#") for piece in _right(pieces, label)]


def _below(pieces: list[Piece], label: Piece) -> list[str]:
    return [piece.text for piece in _under(pieces, label)]


def _right(pieces: list[Piece], label: Piece) -> list[Piece]:
    middle = (label.top + label.bottom) / 2
    right = [piece for piece in pieces if piece.left >= label.right - 1 and piece.bottom - 1 <= middle <= piece.top + 1]
    return sorted(right, key=lambda piece: piece.left)[:2]


def _under(pieces: list[Piece], label: Piece) -> list[Piece]:
    under = [
        piece
        for piece in pieces
        if piece.top <= label.bottom + 1
        and label.bottom - piece.top < 2.2 * label.size + 8
        and piece.left < label.right + 2
        and piece.right > label.left - 2
    ]
    return sorted(under, key=lambda piece: -piece.top)[:1]


def _supplier(pieces: list[Piece]) -> str | None:
    """The party a label names, else the largest words in the upper part of the first page."""
    for label in SUPPLIER_LABELS:
        wanted = re.compile(rf"^\W*{label}\s*(?::\s*(?P<rest>.*))?$", re.IGNORECASE)
        for piece in pieces:
            start = wanted.match(piece.text)
            if start is not None:
                if start["rest"]:
                    return start["rest"]
                found = [*_under(pieces, piece), *_right(pieces, piece)]
                if found:
                    return " ".join(part.text for part in [found[0], *_continued(pieces, found[0])])
    upper = [
        piece for piece in pieces if piece.bottom > 450 and not TITLES.match(piece.text) and not FACTS.match(piece.text)
    ]
    if not upper:
        return None
    largest = max(piece.size for piece in upper)
    # Accents and brackets make a line of the same type a little taller or lower.
    head = max((piece for piece in upper if piece.size > 0.7 * largest), key=lambda piece: piece.top)
    return " ".join(piece.text for piece in [head, *_continued(upper, head)])


def _continued(pieces: list[Piece], head: Piece) -> Iterator[Piece]:
    """The further lines of a name too long for one: as large, at the same edge, right below."""
    for piece in sorted(pieces, key=lambda piece: -piece.top):
        near = 0 <= head.bottom - piece.top < head.size
        if near and abs(piece.left - head.left) < 3 and piece.size > 0.75 * head.size:
            yield piece
            head = piece


def _date(match: re.Match[str] | None) -> date | None:
    if match is None:
        return None
    part = match.groupdict()
    try:
        if part["iso"]:
            return date.fromisoformat(part["iso"])
        if part["day"]:
            return date(int(part["year"]), int(part["month"]), int(part["day"]))
        suffix = "2" if part["d2"] else "3"
        month = MONTHS.get(part[f"m{suffix}"].lower())
        return None if month is None else date(int(part[f"y{suffix}"]), month, int(part[f"d{suffix}"]))
    except ValueError:
        return None


def _amount(match: re.Match[str] | None) -> tuple[Decimal, str | None] | None:
    """The value and its currency; the last separator before two digits is the decimal one, or before three where the
    currency has thousandths."""
    if match is None:
        return None
    word = match["before"] or match["after"]
    currency = SYMBOLS.get(word, word) if word else None
    digits = match["digits"]
    places = 3 if currency in THREE_DECIMALS else 2
    decimals = len(digits) > places + 1 and digits[-places - 1] in ",." and digits[-places:].isdigit()
    whole = re.sub(r"\D", "", digits[: -places - 1] if decimals else digits)
    value = Decimal(f"{whole}.{digits[-places:]}" if decimals else whole)
    return (-value if match["minus"] or match["sign"] else value), currency


def _currency(text: str) -> str | None:
    found = [word for m in AMOUNT.finditer(text) if (word := m["before"] or m["after"])]
    return SYMBOLS.get(found[-1], found[-1]) if found else None


def _sound(iban: str) -> bool:
    """The mod-97 check of ISO 13616."""
    packed = iban.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in packed[4:] + packed[:4])) % 97 == 1
