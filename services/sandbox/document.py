"""Draws a supplier's invoice as a PDF from its recipe: four layouts, six languages, always the same bytes.

A recipe is plain JSON: `layout` 0-3, `language`, `color`, `supplier`, `address`, `vat`, `iban`, `buyer`,
`number` (may be missing), `issued`, `due`, `currency`, `lines`, `net`, `taxes`, `total`, `credit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from fpdf import FPDF

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "CHF": "CHF"}
INK, GREY, PALE = (28, 30, 36), (112, 116, 126), (226, 228, 233)


@dataclass(frozen=True, slots=True)
class Words:
    """The labels of one language, and how it writes dates and amounts."""

    invoice: str
    credit: str
    number: str
    credit_number: str
    issued: str
    due: str
    bill_to: str
    text: str
    quantity: str
    unit: str
    amount: str
    net: str
    tax: str
    total: str
    vat: str
    pay: str
    months: str
    day: str
    decimal: str
    thousand: str


LANGUAGES = {
    "en": Words("Invoice", "Credit note", "Invoice number", "Credit note number", "Invoice date", "Due date", "Bill to",
                "Description", "Qty", "Unit price", "Amount", "Subtotal", "VAT", "Total due", "VAT no.",
                "Please pay to", "January February March April May June July August September October November "
                "December", "{d} {month} {y}", ".", ","),
    "fr": Words("Facture", "Avoir", "Facture n°", "Avoir n°", "Date de facture", "Date d'échéance", "Facturé à",
                "Désignation", "Qté", "Prix unitaire", "Montant", "Total HT", "TVA", "Total TTC", "N° TVA",
                "Règlement par virement", "janvier février mars avril mai juin juillet août septembre octobre "
                "novembre décembre", "{d:02}/{m:02}/{y}", ",", " "),
    "de": Words("Rechnung", "Gutschrift", "Rechnungsnummer", "Gutschriftsnummer", "Rechnungsdatum", "Fällig am",
                "Rechnungsempfänger", "Beschreibung", "Menge", "Einzelpreis", "Betrag", "Nettobetrag", "MwSt.",
                "Gesamtbetrag", "USt-IdNr.", "Bankverbindung", "Januar Februar März April Mai Juni Juli August "
                "September Oktober November Dezember", "{d:02}.{m:02}.{y}", ",", "."),
    "nl": Words("Factuur", "Creditnota", "Factuurnummer", "Creditnota nr.", "Factuurdatum", "Vervaldatum",
                "Factuuradres", "Omschrijving", "Aantal", "Prijs", "Bedrag", "Subtotaal", "btw",
                "Totaal te betalen", "Btw-nr.", "Betaling op", "januari februari maart april mei juni juli "
                "augustus september oktober november december", "{d} {month} {y}", ",", "."),
    "es": Words("Factura", "Factura rectificativa", "Número de factura", "Número de abono", "Fecha de factura",
                "Vencimiento", "Cliente", "Concepto", "Cant.", "Precio", "Importe", "Base imponible", "IVA",
                "Total a pagar", "NIF-IVA", "Pago por transferencia", "enero febrero marzo abril mayo junio julio "
                "agosto septiembre octubre noviembre diciembre", "{d} de {month} de {y}", ",", "."),
    "it": Words("Fattura", "Nota di credito", "Numero fattura", "Numero nota di credito", "Data fattura", "Scadenza",
                "Spett.le", "Descrizione", "Q.tà", "Prezzo", "Importo", "Imponibile", "IVA", "Totale fattura",
                "P. IVA", "Bonifico su", "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre "
                "ottobre novembre dicembre", "{d} {month} {y}", ",", "."),
}  # fmt: skip


def day_in(words: Words, day: date) -> str:
    return words.day.format(d=day.day, m=day.month, y=day.year, month=words.months.split()[day.month - 1])


def amount_in(words: Words, value: Decimal, currency: str) -> str:
    """`1 234,56 €` or `$1,234.56`."""
    digits = f"{value:,.2f}".replace(",", "\0").replace(".", words.decimal).replace("\0", words.thousand)
    symbol = SYMBOLS[currency]
    if words.decimal == "." and len(symbol) == 1:
        return f"{symbol}{digits}"
    return f"{digits} {symbol}"


class Sheet:
    """One A4 page being filled, in millimetres."""

    def __init__(self, recipe: dict[str, Any]) -> None:
        self.recipe = recipe
        self.words = LANGUAGES[recipe["language"]]
        self.family = ("Helvetica", "Helvetica", "Times", "Helvetica")[recipe["layout"]]
        self.accent: Sequence[int] = recipe["color"]
        self.pdf = FPDF()
        self.pdf.core_fonts_encoding = "cp1252"
        issued = date.fromisoformat(recipe["issued"])
        self.pdf.set_creation_date(datetime(issued.year, issued.month, issued.day, 9, tzinfo=UTC))
        self.pdf.set_auto_page_break(False)
        self.pdf.add_page()

    def put(
        self, x: float, y: float, text: str, size: float = 9.5, *, style: str = "", color: Sequence[int] = INK,
        width: float = 0, align: str = "L",
    ) -> None:  # fmt: skip
        """A run of text at (x, y), made smaller until it fits `width`."""
        height = size * 0.5
        self.pdf.set_font(self.family, style, size)
        while width and self.pdf.get_string_width(text) > width - 2 and size > 6:
            size -= 0.5
            self.pdf.set_font(self.family, style, size)
        self.pdf.set_text_color(*color)
        self.pdf.set_xy(x, y)
        self.pdf.cell(width or self.pdf.get_string_width(text) + 2, height, text, align=align)

    def rule(self, y: float, color: Sequence[int] = PALE, left: float = 18, right: float = 192) -> None:
        self.pdf.set_draw_color(*color)
        self.pdf.set_line_width(0.3)
        self.pdf.line(left, y, right, y)

    def facts(self) -> list[tuple[str, str]]:
        """Number, dates: label and value. What the document lacks is left out."""
        words, recipe = self.words, self.recipe
        found = []
        if recipe.get("number"):
            found.append((words.credit_number if recipe["credit"] else words.number, recipe["number"]))
        found.append((words.issued, day_in(words, date.fromisoformat(recipe["issued"]))))
        if recipe.get("due") and not recipe["credit"]:
            found.append((words.due, day_in(words, date.fromisoformat(recipe["due"]))))
        return found

    def money(self, value: Any) -> str:
        return amount_in(self.words, Decimal(str(value)), self.recipe["currency"])

    @property
    def title(self) -> str:
        return self.words.credit if self.recipe["credit"] else self.words.invoice


def draw(recipe: dict[str, Any]) -> bytes:
    """The PDF of a recipe; the same recipe gives the same bytes."""
    sheet = Sheet(recipe)
    top = (_letter, _band, _boxed, _aside)[recipe["layout"]](sheet)
    bottom = _table(sheet, top)
    bottom = _totals(sheet, bottom + 4)
    _foot(sheet, max(bottom + 12, 245))
    return bytes(sheet.pdf.output())


def _party(sheet: Sheet, x: float, y: float, align: str = "L") -> None:
    for step, line in enumerate(sheet.recipe["address"]):
        sheet.put(x, y + 4.6 * step, line, 9, color=GREY, width=80 if align == "R" else 0, align=align)


def _buyer(sheet: Sheet, x: float, y: float) -> None:
    sheet.put(x, y, sheet.words.bill_to, 8, style="B", color=sheet.accent)
    for step, line in enumerate(sheet.recipe["buyer"]):
        sheet.put(x, y + 5 + 4.8 * step, line, 9.5, style="B" if step == 0 else "")


def _letter(sheet: Sheet) -> float:
    """Sender left, facts right, as a letter."""
    sheet.put(18, 18, sheet.recipe["supplier"], 19, style="B", color=sheet.accent, width=174)
    _party(sheet, 18, 29)
    sheet.put(120, 46, sheet.title, 14, style="B")
    for step, (label, value) in enumerate(sheet.facts()):
        sheet.put(120, 55 + 5.6 * step, label, 9, color=GREY)
        sheet.put(158, 55 + 5.6 * step, value, 9.5, width=34, align="R")
    _buyer(sheet, 18, 52)
    return 88


def _band(sheet: Sheet) -> float:
    """A coloured band on top with the name in white."""
    sheet.pdf.set_fill_color(*sheet.accent)
    sheet.pdf.rect(0, 0, 210, 34, style="F")
    sheet.put(18, 9, sheet.recipe["supplier"], 20, style="B", color=(255, 255, 255), width=130)
    sheet.put(148, 12, sheet.title.upper(), 13, color=(255, 255, 255), width=44, align="R")
    _party(sheet, 112, 42, "R")
    _buyer(sheet, 18, 42)
    for step, (label, value) in enumerate(sheet.facts()):
        x = 18 + 58 * step
        sheet.put(x, 74, label, 8, style="B", color=sheet.accent)
        sheet.put(x, 79, value, 10.5)
    return 94


def _boxed(sheet: Sheet) -> float:
    """Serif, centred name, facts in boxes with the label above the value."""
    sheet.put(18, 16, sheet.recipe["supplier"], 22, style="B", width=174, align="C")
    sheet.put(18, 27, " · ".join(sheet.recipe["address"]), 9, color=GREY, width=174, align="C")
    sheet.rule(35, sheet.accent)
    sheet.put(18, 42, sheet.title, 15, style="I")
    facts = sheet.facts()
    width = 174 / len(facts)
    for step, (label, value) in enumerate(facts):
        sheet.pdf.set_draw_color(*PALE)
        sheet.pdf.rect(18 + width * step, 54, width, 14)
        sheet.put(20 + width * step, 55.5, label, 8, color=GREY)
        sheet.put(20 + width * step, 61, value, 11)
    _buyer(sheet, 18, 75)
    return 104


def _aside(sheet: Sheet) -> float:
    """A narrow accent bar at the left edge; facts as `label: value` in one column."""
    sheet.pdf.set_fill_color(*sheet.accent)
    sheet.pdf.rect(0, 0, 6, 297, style="F")
    sheet.put(18, 16, sheet.title, 12, color=sheet.accent)
    sheet.put(18, 24, sheet.recipe["supplier"], 18, style="B", width=110)
    _party(sheet, 18, 34)
    for step, (label, value) in enumerate(sheet.facts()):
        sheet.put(130, 24 + 5.4 * step, f"{label}: {value}", 9.5)
    _buyer(sheet, 130, 48)
    return 84


def _table(sheet: Sheet, top: float) -> float:
    words = sheet.words
    columns = ((18, 92, "L", words.text), (110, 16, "R", words.quantity), (126, 32, "R", words.unit),
               (158, 34, "R", words.amount))  # fmt: skip
    for x, width, align, label in columns:
        sheet.put(x, top, label, 8, style="B", color=GREY, width=width, align=align)
    sheet.rule(top + 5.5, sheet.accent)
    y = top + 8
    for line in sheet.recipe["lines"]:
        values = (line["text"], str(line["quantity"]), sheet.money(line["unit"]), sheet.money(line["net"]))
        for (x, width, align, _), value in zip(columns, values, strict=True):
            sheet.put(x, y, value, 9.5, width=width, align=align)
        sheet.rule(y + 6.5)
        y += 9
    return y


def _totals(sheet: Sheet, y: float) -> float:
    words, recipe = sheet.words, sheet.recipe
    rows = [(words.net, recipe["net"])]
    rows += [
        (f"{words.tax} {str(tax['rate']).replace('.', words.decimal)} %", tax["amount"]) for tax in recipe["taxes"]
    ]
    for label, value in rows:
        sheet.put(120, y, label, 9.5, color=GREY, width=38)
        sheet.put(158, y, sheet.money(value), 9.5, width=34, align="R")
        y += 6
    sheet.rule(y, sheet.accent, left=120)
    sheet.put(120, y + 2.5, words.total, 11.5, style="B", width=38)
    sheet.put(158, y + 2.5, sheet.money(recipe["total"]), 11.5, style="B", width=34, align="R")
    return y + 10


def _foot(sheet: Sheet, y: float) -> None:
    words, recipe = sheet.words, sheet.recipe
    sheet.rule(y)
    if recipe.get("vat"):
        sheet.put(18, y + 3, f"{words.vat} {recipe['vat']}", 8.5, color=GREY)
    if recipe.get("iban"):
        spaced = " ".join(recipe["iban"][i : i + 4] for i in range(0, len(recipe["iban"]), 4))
        sheet.put(18, y + 8, f"{words.pay}: IBAN {spaced}", 8.5, color=GREY)
    sheet.put(18, y + 13, recipe["supplier"], 8, color=GREY)
