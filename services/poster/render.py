"""Draws a bill as an invoice PDF that people and text recognition read alike.

One column of labels, one of values, plain English labels in front of what they name, one A4 page after the
other. The same input gives the same bytes, so that a repeated upload is the same upload.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import anyio.to_thread
import font_roboto
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from common.messages import Address, Bill, BillLine, Company, Record, Vendor

_INK, _GREY, _ACCENT, _RULE, _BAND = (27, 31, 40), (104, 111, 124), (30, 78, 121), (208, 213, 221), (244, 246, 249)
_LEFT, _RIGHT, _TOP, _BOTTOM = 18.0, 192.0, 18.0, 262.0
"""Margins of an A4 page in millimetres."""
_COLUMNS = ((_LEFT, 96.0, "L"), (114.0, 18.0, "R"), (132.0, 28.0, "R"), (160.0, 32.0, "R"))
_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}
_DECIMALS = {"BHD": 3, "CLP": 0, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "OMR": 3, "TND": 3, "VND": 0}
"""ISO 4217 minor units where they are not two."""
_MOST_LINES = 200


async def draw(record: Record, vendor: Vendor | None, company: Company | None) -> bytes:
    """The PDF of a bill, drawn beside the event loop."""
    return await anyio.to_thread.run_sync(pdf, record, vendor, company)


def pdf(record: Record, vendor: Vendor | None, company: Company | None) -> bytes:
    """The PDF of a bill: supplier, buyer, number, dates, lines, tax by rate, total, and where it comes from."""
    bill = record.body
    if not isinstance(bill, Bill):
        raise TypeError(f"{record.key} is no bill")
    sheet = _Sheet(record, bill)
    below = sheet.parties(vendor, company)
    below = sheet.lines(below + 8)
    sheet.totals(below + 4)
    return bytes(sheet.output())


def money(value: Decimal, currency: str) -> str:
    """An amount as it is printed: `€1,234.56`, `PLN 1,234.56`, `JPY 1,235`."""
    digits = f"{abs(value):,.{_DECIMALS.get(currency, 2)}f}"
    sign = "-" if value < 0 else ""
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{currency} {digits}"


def day(value: date) -> str:
    """A date as it is printed, without a doubt which number is the month."""
    return value.isoformat()


class _Sheet(FPDF):
    """The document being drawn."""

    def __init__(self, record: Record, bill: Bill) -> None:
        super().__init__(format="A4")
        self._record = record
        self._bill = bill
        self.set_auto_page_break(False)
        self.set_margins(_LEFT, _TOP, 210 - _RIGHT)
        self.add_font("Roboto", "", font_roboto.Roboto)
        self.add_font("Roboto", "B", font_roboto.RobotoMedium)
        self.set_creation_date(datetime.combine(bill.issued_on or date(2000, 1, 1), time(9), UTC))
        self.set_title(f"Invoice {bill.number}" if bill.number else f"Invoice of {self._supplier}")
        self.set_author(self._supplier)
        self.set_subject(f"QuickBooks bill {record.id} of company {record.realm}")
        self.set_keywords(f"quickbooks-realm:{record.realm} quickbooks-bill:{record.id}")
        self.set_creator("Weir")
        self.set_lang("en")
        self.add_page()

    @property
    def _supplier(self) -> str:
        return self._bill.vendor.name or f"Supplier {self._bill.vendor.id}"

    def footer(self) -> None:
        """On every page: where the document comes from."""
        self._rule(_BOTTOM + 8)
        source = f"Drawn by Weir from QuickBooks bill {self._record.id}, company {self._record.realm}"
        self._put(_LEFT, _BOTTOM + 10, source, 7.5, color=_GREY)
        self._put(_RIGHT - 40, _BOTTOM + 10, f"Page {self.page_no()}", 7.5, color=_GREY, width=40, align="R")

    def parties(self, vendor: Vendor | None, company: Company | None) -> float:
        """Supplier and facts at the top, the buyer beneath; the height where they end."""
        bill = self._bill
        y = self._wrapped(_LEFT, _TOP, self._supplier, 18, width=104, bold=True, color=_ACCENT)
        address = (vendor.address if vendor is not None else None) or bill.vendor_address
        for line in [*_postal(address), *_contact(vendor)]:
            y = self._wrapped(_LEFT, y + 0.6, line, 9, width=104, color=_GREY)
        right = _TOP + 1
        self._put(128, right, "Invoice", 16, bold=True, width=64, align="R")
        right += 11
        for label, value in self._facts():
            self._put(128, right, label, 9, color=_GREY)
            self._put(158, right, value, 9.5, width=34, align="R", bold=label == "Invoice number")
            right += 5.4
        y = max(y, right) + 7
        if company is None:
            return y
        self._put(_LEFT, y, "Bill to", 8, bold=True, color=_ACCENT)
        y += 4.6
        y = self._wrapped(_LEFT, y, company.legal_name or company.name, 10, width=100, bold=True)
        for line in _postal(company.address):
            y = self._wrapped(_LEFT, y + 0.4, line, 9, width=100)
        return y

    def _facts(self) -> list[tuple[str, str]]:
        bill = self._bill
        facts = [("Invoice number", bill.number)] if bill.number else []
        if bill.issued_on is not None:
            facts.append(("Invoice date", day(bill.issued_on)))
        if bill.due_on is not None:
            facts.append(("Due date", day(bill.due_on)))
        return [*facts, ("Currency", bill.currency)]

    def lines(self, y: float) -> float:
        """The lines, on as many pages as they need; the height where they end."""
        y = self._head(y)
        wanted = [line for line in self._bill.lines if line.amount or line.description]
        for line in wanted[:_MOST_LINES]:
            texts = self._line(line)
            height = self._height(texts[0], 9.5, _COLUMNS[0][1] - 2) + 3.4
            if y + height > _BOTTOM:
                self.add_page()
                y = self._head(_TOP)
            for (x, width, align), text in zip(_COLUMNS[1:], texts[1:], strict=True):
                self._put(x, y + 1.6, text, 9.5, width=width, align=align)
            self._wrapped(_LEFT + 1, y + 1.6, texts[0], 9.5, width=_COLUMNS[0][1] - 2)
            y += height
            self._rule(y)
        if len(wanted) > _MOST_LINES:
            self._put(_LEFT + 1, y + 1.6, f"and {len(wanted) - _MOST_LINES} more lines", 9, color=_GREY)
            y += 6
        return y

    def _head(self, y: float) -> float:
        self.set_fill_color(*_BAND)
        self.rect(_LEFT, y, _RIGHT - _LEFT, 7, style="F")
        for (x, width, align), label in zip(_COLUMNS, ("Description", "Qty", "Unit price", "Amount"), strict=True):
            inset = 1.0 if align == "L" else 0.0
            self._put(x + inset, y + 1.6, label, 8, bold=True, color=_GREY, width=width - inset, align=align)
        return y + 7

    def _line(self, line: BillLine) -> tuple[str, str, str, str]:
        text = line.description or (line.item.name if line.item is not None else None) or "Purchase"
        quantity = f"{line.quantity.normalize():f}" if line.quantity is not None else ""
        unit = self._money(line.unit_price) if line.unit_price is not None else ""
        return text, quantity, unit, self._money(line.amount)

    def totals(self, y: float) -> None:
        """Net, tax by rate, total, and what the number of the bill is in QuickBooks."""
        bill = self._bill
        rows = [("Subtotal", self._money(bill.net))] if bill.tax else []
        rows += [(_rate(tax.percent), self._money(tax.amount)) for tax in bill.tax_lines if bill.tax]
        if bill.tax and not bill.tax_lines:
            rows.append(("VAT", self._money(bill.tax)))
        if y + 6 * len(rows) + 16 > _BOTTOM:
            self.add_page()
            y = _TOP
        for label, value in rows:
            self._put(122, y, label, 9.5, color=_GREY)
            self._put(154, y, value, 9.5, width=38, align="R")
            y += 5.8
        self._rule(y + 0.6, left=122, color=_ACCENT)
        self._put(122, y + 3, "Total", 12, bold=True)
        self._put(148, y + 3, self._money(bill.total), 12, bold=True, width=44, align="R")

    def _money(self, value: Decimal) -> str:
        return money(value, self._bill.currency)

    def _put(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        bold: bool = False,
        color: Sequence[int] = _INK,
        width: float = 0,
        align: str = "L",
    ) -> None:
        self._font(size, bold=bold, color=color)
        while width and size > 6 and self.get_string_width(text) > width:
            size -= 0.5
            self._font(size, bold=bold, color=color)
        self.set_xy(x, y)
        self.cell(width or None, size * 0.5, text, align=align)

    def _wrapped(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        width: float,
        bold: bool = False,
        color: Sequence[int] = _INK,
    ) -> float:
        self._font(size, bold=bold, color=color)
        self.set_xy(x, y)
        self.multi_cell(width, size * 0.46, text[:1000], align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        return float(self.get_y())

    def _height(self, text: str, size: float, width: float) -> float:
        self._font(size)
        lines: Any = self.multi_cell(width, size * 0.46, text[:1000], align="L", dry_run=True, output="LINES")
        return len(lines) * size * 0.46

    def _font(self, size: float, *, bold: bool = False, color: Sequence[int] = _INK) -> None:
        self.set_font("Roboto", "B" if bold else "", size)
        self.set_text_color(*color)

    def _rule(self, y: float, *, left: float = _LEFT, color: Sequence[int] = _RULE) -> None:
        self.set_draw_color(*color)
        self.set_line_width(0.25)
        self.line(left, y, _RIGHT, y)


def _rate(percent: Decimal | None) -> str:
    return f"VAT {percent.normalize():f}%" if percent is not None else "VAT"


def _postal(address: Address | None) -> list[str]:
    if address is None:
        return []
    city = " ".join(part for part in (address.postal_code, address.city) if part)
    place = ", ".join(part for part in (city, address.region) if part)
    return [part for part in (*address.lines, place, address.country) if part]


def _contact(vendor: Vendor | None) -> list[str]:
    if vendor is None:
        return []
    lines = [part for part in (vendor.email, vendor.website) if part]
    number = vendor.tax_identifier
    # QuickBooks shows only the last characters of a tax number: a masked one would be read as another number.
    if number and not any(mask in number.upper() for mask in ("XX", "**")):
        lines.append(f"VAT number: {number}")
    return lines
