"""Draws a bill as an invoice PDF that people and text recognition read alike.

Plain labels in the language of the buyer's country in front of what they name, the same on every page; the
total stands beside the number and the dates as well as under the lines. The same input gives the same bytes,
so that a repeated upload is the same upload.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from xml.sax.saxutils import escape

import anyio.to_thread
import font_roboto
from fpdf import FPDF
from fpdf.enums import TextDirection
from fpdf.fonts import TTFFont

from common.messages import Address, Bill, BillLine, Company, Record, TaxLine, Vendor, VendorCredit
from services.poster.everyday import cut, everyday
from services.poster.letters import FEATURES, LATIN, Run, clean, runs
from services.poster.words import Words, words_of

Color = tuple[int, int, int]

_INK: Color = (24, 28, 36)
_GREY: Color = (100, 108, 121)
_ACCENT: Color = (23, 71, 115)
_RULE: Color = (214, 219, 226)
_BAND: Color = (241, 244, 248)
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 210.0, 20.0, 190.0, 20.0, 268.0
"""An A4 page and its margins in millimetres."""
_FACTS = 122.0
"""Where the right half of the page begins."""
_COLUMNS = ((_LEFT, 86.0), (109.0, 17.0), (128.0, 29.0), (159.0, 31.0))
"""Description, quantity, price, amount: left edge and width."""
_LEADING = 0.46
"""Millimetres between lines for each point of size."""
_SMALLEST = 5.0
_MOST_LINES, _LONGEST = 2000, 2000
"""Lines of a bill, and letters of a text, beyond which nobody reads."""

Shown = Bill | VendorCredit


async def draw(record: Record, vendor: Vendor | None, company: Company | None) -> bytes:
    """The PDF of a bill, drawn beside the event loop."""
    return await anyio.to_thread.run_sync(pdf, record, vendor, company)


def pdf(record: Record, vendor: Vendor | None, company: Company | None) -> bytes:
    """The PDF of a bill or credit: supplier, buyer, number, dates, lines, tax by rate, total, where it comes from."""
    if not isinstance(record.body, Bill | VendorCredit):
        raise TypeError(f"{record.key} is no bill")
    sheet = _Sheet(record, record.body, words_of(company), latin=everyday(record.body, vendor, company))
    below = max(sheet.parties(vendor, company), sheet.facts())
    below = sheet.lines(below + 10)
    sheet.totals(below + 5)
    sheet.footers()
    sheet.turn_ligatures()
    return bytes(sheet.output())


class _Sheet(FPDF):
    """The document being drawn."""

    def __init__(self, record: Record, bill: Shown, words: Words, *, latin: bool) -> None:
        super().__init__(format="A4")
        self._record = record
        self._bill = bill
        self._words = words
        self._leftward: set[str] = set()
        self.set_auto_page_break(False)
        self.set_margins(_LEFT, _TOP, _WIDTH - _RIGHT)
        self.c_margin = 0
        for style, file in (("", font_roboto.Roboto), ("B", font_roboto.RobotoMedium)):
            if latin:  # `add_font` takes names of files only, fontTools beneath it takes open ones too
                key = f"{LATIN.lower()}{style}"
                self.fonts[key] = TTFFont(self, cut(file), key, style)  # type: ignore[arg-type]
            else:
                self.add_font(LATIN, style, file)
        self._describe()
        self._page()

    def _describe(self) -> None:
        """The properties of the file, in both places where readers look."""
        record, bill = self._record, self._bill
        at = datetime.combine(bill.issued_on or date(2000, 1, 1), time(9), UTC)
        title = " ".join(part for part in (self._title, bill.number and clean(bill.number)) if part)
        subject = f"QuickBooks {'credit' if self._credit else 'bill'} {record.id} of company {record.realm}"
        keywords = f"quickbooks-realm:{record.realm} quickbooks-bill:{record.id}"
        self.set_creation_date(at)
        self.set_title(title)
        self.set_author(self._supplier)
        self.set_subject(subject)
        self.set_keywords(keywords)
        self.set_creator("Weir")
        self.set_lang(self._words.code)
        self.set_xmp_metadata(
            _XMP.format(
                at=at.isoformat(),
                title=escape(title),
                supplier=escape(self._supplier),
                subject=escape(subject),
                keywords=escape(keywords),
                language=self._words.code,
                realm=escape(record.realm),
                bill=escape(record.id),
            )
        )

    @property
    def _credit(self) -> bool:
        return isinstance(self._bill, VendorCredit)

    @property
    def _title(self) -> str:
        return self._words.credit if self._credit else self._words.invoice

    @property
    def _total(self) -> str:
        return self._words.credit_total if self._credit else self._words.total

    @property
    def _supplier(self) -> str:
        return clean(self._bill.vendor.name or "") or f"{self._words.supplier} {self._bill.vendor.id}"

    def parties(self, vendor: Vendor | None, company: Company | None) -> float:
        """The supplier at the top left and the buyer beneath; the height where they end."""
        address = vendor.address if vendor is not None else None
        if address is None and isinstance(self._bill, Bill):
            address = self._bill.vendor_address
        details = [*_postal(address), *self._contact(vendor)]
        y = self._party(_TOP, self._words.supplier, self._supplier, 16, details)
        if company is None:
            return y
        return self._party(y + 7, self._words.buyer, company.legal_name or company.name, 11, _postal(company.address))

    def _party(self, y: float, label: str, name: str, size: float, details: Sequence[str]) -> float:
        self._put(_LEFT, y, label, 8, bold=True, color=_ACCENT)
        y = self._wrapped(_LEFT, y + 4.6, name, size, width=92, bold=True) + 0.8
        for detail in details:
            y = self._wrapped(_LEFT, y, detail, 9, width=92, color=_GREY)
        return y

    def _contact(self, vendor: Vendor | None) -> list[str]:
        if vendor is None:
            return []
        lines = [part for part in (vendor.email, vendor.phone, vendor.website) if part]
        if vendor.company_name and clean(vendor.company_name) != self._supplier:
            lines.insert(0, vendor.company_name)
        number = vendor.tax_identifier
        # QuickBooks shows only the last characters of a tax number: a masked one would be read as another number.
        if number and not any(mask in number.upper() for mask in ("XX", "**")):
            lines.append(f"{self._words.vat_number}: {number}")
        return lines

    def facts(self) -> float:
        """What the document is, its number, its dates and its total; the height where they end."""
        words, bill = self._words, self._bill
        self._put(_FACTS, _TOP - 1.2, self._title, 20, bold=True, color=_ACCENT, width=_RIGHT - _FACTS, align="R")
        facts: list[tuple[str, str]] = []
        if bill.number and clean(bill.number):
            facts.append((words.credit_number if self._credit else words.number, bill.number))
        if bill.issued_on is not None:
            facts.append((words.credit_issued if self._credit else words.issued, words.days(bill.issued_on)))
        if isinstance(bill, Bill) and bill.due_on is not None:
            facts.append((words.due, words.days(bill.due_on)))
        y = _TOP + 11.5
        for label, value in facts:
            self._put(_FACTS, y, label, 9, color=_GREY)
            size = next((size for size in (9.5, 9.0, 8.5) if self._lines(value, size) == 1), 9.5)
            y = self._wrapped(_FACTS + 33, y, value, size, width=_RIGHT - _FACTS - 33, align="R") + 1.4
        self.set_fill_color(*_BAND)
        self.rect(_FACTS - 3, y + 1, _RIGHT - _FACTS + 6, 10, style="F")
        self._put(_FACTS, y + 3.3, self._total, 10, bold=True)
        self._put(_FACTS + 26, y + 3.1, self._money(bill.total), 11, bold=True, width=_RIGHT - _FACTS - 26, align="R")
        return y + 11

    def _lines(self, value: str, size: float) -> int:
        return len(self._wrap(value, size, _RIGHT - _FACTS - 33))

    def lines(self, y: float) -> float:
        """The lines, on as many pages as they need; the height where they end."""
        wanted = self._shown
        if not wanted:
            return y - 5
        y = self._head(y)
        for line in wanted[:_MOST_LINES]:
            text, *figures = self._line(line)
            parts = self._wrap(text, 9.5, _COLUMNS[0][1])
            whole = len(parts) * 9.5 * _LEADING + 3.6
            for index, part in enumerate(parts):
                # What fits on a page stays together, the rest is cut where the page ends.
                needed = whole if index == 0 and whole < _BOTTOM - _TOP - 10 else 9.5 * _LEADING + 3.6
                if y + needed > _BOTTOM:
                    self._page()
                    y = self._head(_TOP)
                y += 1.8 if index == 0 else 0
                self._put(_LEFT, y, part, 9.5)
                if index == 0:
                    for (x, width), figure in zip(_COLUMNS[1:], figures, strict=True):
                        self._put(x, y, figure, 9.5, width=width, align="R")
                y += 9.5 * _LEADING
            y += 1.8
            self._rule(y)
        if len(wanted) > _MOST_LINES:
            self._put(_LEFT, y + 1.8, f"+ {len(wanted) - _MOST_LINES}", 9, color=_GREY)
            y += 6
        return y

    @property
    def _shown(self) -> list[BillLine]:
        return [line for line in self._bill.lines if line.amount or line.description]

    def _head(self, y: float) -> float:
        words = self._words
        self._put(_LEFT, y, words.text, 8, bold=True, color=_GREY)
        for (x, width), label in zip(_COLUMNS[1:], (words.quantity, words.unit, words.amount), strict=True):
            self._put(x, y, label, 8, bold=True, color=_GREY, width=width, align="R")
        self._rule(y + 5, color=_ACCENT)
        return y + 5

    def _line(self, line: BillLine) -> tuple[str, str, str, str]:
        text = clean(line.description or "") or clean((line.item.name if line.item else None) or "")
        quantity = self._words.digits(line.quantity) if line.quantity is not None else ""
        if line.quantity is not None and line.quantity < 0:
            quantity = f"-{quantity}"
        unit = self._money(line.unit_price) if line.unit_price is not None else ""
        return text or self._words.purchase, quantity, unit, self._money(line.amount)

    def totals(self, y: float) -> None:
        """Net, tax by rate, total."""
        bill, words = self._bill, self._words
        tax = bill.tax or Decimal(0)
        taxed = [line for line in bill.tax_lines if line.amount or line.percent is not None] if tax else []
        rows = [(words.net, self._money(bill.total - tax))] if tax else []
        rows += [(words.rate(line.percent), self._money(line.amount)) for line in taxed]
        if tax and (not taxed or len(taxed) > 1):
            rows.append((words.taxes if taxed else words.tax, self._money(tax)))
        if not rows and not self._shown:
            return  # the total at the top has said it
        based = taxed if len(taxed) > 1 and all(line.net is not None for line in taxed) else []
        if y + 6 * len(rows) + 18 > _BOTTOM:
            self._page()
            y = _TOP
        if based:
            self._bases(y, based)
        for label, value in rows:
            self._put(_FACTS, y, label, 9.5, color=_GREY, width=36)
            self._put(_FACTS + 37, y, value, 9.5, width=_RIGHT - _FACTS - 37, align="R")
            y += 5.8
        self.set_fill_color(*_BAND)
        self.rect(_FACTS - 3, y + 1, _RIGHT - _FACTS + 6, 10, style="F")
        self._put(_FACTS, y + 3.2, self._total, 11, bold=True)
        self._put(_FACTS + 30, y + 3, self._money(bill.total), 12, bold=True, width=_RIGHT - _FACTS - 30, align="R")

    def _bases(self, y: float, taxed: Sequence[TaxLine]) -> None:
        """What each rate was charged on, beside the totals."""
        words = self._words
        columns = ((_LEFT, 22.0, "L"), (_LEFT + 24, 34.0, "R"))
        for (x, width, align), label in zip(columns, (words.tax_rate, words.tax_base), strict=True):
            self._put(x, y, label, 8, bold=True, color=_GREY, width=width, align=align)
        self._rule(y + 4.6, right=_LEFT + 58)
        y += 5.8
        for line in taxed:
            rate = words.percent(line.percent) if line.percent is not None else words.tax
            for (x, width, align), value in zip(columns, (rate, self._money(line.net or Decimal(0))), strict=True):
                self._put(x, y, value, 8.5, color=_GREY, width=width, align=align)
            y += 4.8

    def footers(self) -> None:
        """On every page: where the document comes from, and which page of how many it is."""
        words, record = self._words, self._record
        kind = "credit" if self._credit else "bill"
        source = f"{words.source} · QuickBooks {kind} {record.id}, company {record.realm}"
        for number in range(1, self.pages_count + 1):
            self.page = number
            self.set_font(LATIN, size=1)  # a page does not know which font the last one ended with
            self._rule(_BOTTOM + 7)
            self._put(_LEFT, _BOTTOM + 9, source, 7.5, color=_GREY, width=135)
            page = words.page.format(page=number, pages=self.pages_count)
            self._put(_RIGHT - 32, _BOTTOM + 9, page, 7.5, color=_GREY, width=32, align="R")

    def turn_ligatures(self) -> None:
        """Name the letters drawn as one (lam and alef) in the order in which readers turn them around.

        PDFium and Poppler reverse what runs leftward letter by letter, those within one sign too.
        """
        for name in self._leftward:
            font = self.fonts[name.lower()]
            for glyph, _ in font.subset.items() if isinstance(font, TTFFont) else ():
                if glyph is not None and isinstance(glyph.unicode, tuple):
                    glyph.unicode = glyph.unicode[::-1]

    def _page(self) -> None:
        self.add_page()
        self.set_fill_color(*_ACCENT)
        self.rect(0, 0, _WIDTH, 2.4, style="F")

    def _money(self, value: Decimal) -> str:
        return self._words.money(value, self._bill.currency)

    def _put(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        bold: bool = False,
        color: Color = _INK,
        width: float = 0,
        align: str = "L",
    ) -> None:
        """One line; smaller if it would be wider than `width`."""
        parts = runs(clean(text))
        long = self._long(parts, size, bold=bold)
        while width and long > width and size > _SMALLEST:
            size -= 0.5
            long = self._long(parts, size, bold=bold)
        if align == "R":
            x += width - long
        self.set_text_color(*color)
        for run in parts:
            step = self._run(run, size, bold=bold)
            self.set_xy(x, y)
            self.cell(step, size * _LEADING, run.text)
            x += step

    def _wrapped(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        width: float,
        bold: bool = False,
        color: Color = _INK,
        align: str = "L",
    ) -> float:
        """As many lines as the text needs; the height where they end."""
        for line in self._wrap(text, size, width, bold=bold):
            self._put(x, y, line, size, bold=bold, color=color, width=width, align=align)
            y += size * _LEADING
        return y

    def _wrap(self, text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
        """The text cut into lines: between words, and inside of what is too long for a line."""
        lines: list[str] = []
        line = ""
        for word in clean(text[:_LONGEST]).split(" "):
            longer = f"{line} {word}" if line else word
            if self._long(runs(longer), size, bold=bold) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = word
            while len(line) > 1 and (fits := self._fits(line, size, width, bold=bold)) < len(line):
                lines.append(line[:fits])
                line = line[fits:]
        return [*lines, line]

    def _fits(self, text: str, size: float, width: float, *, bold: bool) -> int:
        """How many letters of the text, one at least, go on a line."""
        shorter = range(1, len(text) + 1)
        return max(bisect_right(shorter, width, key=lambda n: self._long(runs(text[:n]), size, bold=bold)), 1)

    def _long(self, parts: Sequence[Run], size: float, *, bold: bool = False) -> float:
        return sum(self._run(run, size, bold=bold) for run in parts)

    def _run(self, run: Run, size: float, *, bold: bool) -> float:
        """Make ready to draw a run; its width."""
        face = run.face
        if face is None:
            self.set_font(LATIN, "B" if bold else "", size)
        else:
            if face.name.lower() not in self.fonts:
                self.add_font(face.name, "", face.path)
            self.set_font(face.name, "", size)
        if run.leftward and face is not None:
            self._leftward.add(face.name)
        shaped = run.leftward or (face is not None and face.shaped)
        direction = TextDirection.RTL if run.leftward else TextDirection.LTR
        self.set_text_shaping(shaped, features=FEATURES if shaped else None, direction=direction if shaped else None)
        return float(self.get_string_width(run.text))

    def _rule(self, y: float, *, right: float = _RIGHT, color: Color = _RULE) -> None:
        self.set_draw_color(*color)
        self.set_line_width(0.25)
        self.line(_LEFT, y, right, y)


_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:weir="https://weir.invalid/ns/1/">
<dc:format>application/pdf</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:creator><rdf:Seq><rdf:li>{supplier}</rdf:li></rdf:Seq></dc:creator>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{subject}</rdf:li></rdf:Alt></dc:description>
<dc:language><rdf:Bag><rdf:li>{language}</rdf:li></rdf:Bag></dc:language>
<pdf:Keywords>{keywords}</pdf:Keywords>
<xmp:CreatorTool>Weir</xmp:CreatorTool><xmp:CreateDate>{at}</xmp:CreateDate>
<weir:QuickBooksRealm>{realm}</weir:QuickBooksRealm><weir:QuickBooksBill>{bill}</weir:QuickBooksBill>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def _postal(address: Address | None) -> list[str]:
    if address is None:
        return []
    city = " ".join(part for part in (address.postal_code, address.city) if part)
    place = ", ".join(part for part in (city, address.region) if part)
    return [part for part in (*address.lines, place, address.country) if part]
