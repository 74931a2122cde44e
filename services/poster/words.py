"""The words of a drawn document, and how its language writes days and amounts.

A document is drawn in the language of the buyer's country, whose accountants read it; in English where that
is not known. Qonto's markets are covered.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from common.messages import Company

_NARROW, _HARD = "\u202f", "\u00a0"
"""Spaces that do not break a line: inside a number, and between a number and its currency."""
_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}
"""Signs that stand for one currency only; a bare `$` is read as US dollars everywhere Qonto is."""
_MINOR = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
"""ISO 4217 minor units where they are not two."""
_MOST_DIGITS = 10
"""Decimals of a price per unit beyond which they are noise."""


@dataclass(frozen=True, slots=True)
class Words:
    """The labels of one language, and its way with days and amounts."""

    code: str
    supplier: str
    buyer: str
    invoice: str
    credit: str
    number: str
    credit_number: str
    issued: str
    credit_issued: str
    due: str
    text: str
    quantity: str
    unit: str
    amount: str
    net: str
    tax: str
    taxes: str
    total: str
    credit_total: str
    vat_number: str
    purchase: str
    tax_rate: str
    tax_base: str
    page: str
    source: str
    months: str
    day: str
    decimal: str
    thousand: str
    symbol_first: bool = False

    def days(self, value: date) -> str:
        """A date with its month written out, so that nobody doubts which number is the month."""
        number = "1er" if self.code == "fr" and value.day == 1 else str(value.day)
        return self.day.format(day=number, month=self.months.split()[value.month - 1], year=value.year)

    def digits(self, value: Decimal) -> str:
        """A number with all its decimals and no more: `1,234.5`."""
        return self._grouped(value, 0)

    def money(self, value: Decimal, currency: str) -> str:
        """An amount as the language writes it, never rounded: `€1,234.56`, `1 234,56 €`, `JPY 1,235`."""
        digits = self._grouped(value, _MINOR.get(currency, 2))
        sign = "-" if value < 0 else ""
        symbol = _SYMBOLS.get(currency, currency)
        if not self.symbol_first:
            return f"{sign}{digits}{_HARD}{symbol}"
        return f"{sign}{symbol}{digits}" if len(symbol) == 1 else f"{symbol}{_HARD}{sign}{digits}"

    def rate(self, percent: Decimal | None) -> str:
        """A tax rate as its row is called: `VAT 20%`, `TVA 5,5 %`."""
        if percent is None:
            return self.tax
        return f"{self.tax} {self.percent(percent)}"

    def percent(self, percent: Decimal) -> str:
        """`20%` or `20 %`."""
        return f"{self.digits(percent)}{'' if self.symbol_first else _HARD}%"

    def _grouped(self, value: Decimal, least: int) -> str:
        exact = abs(value).normalize().as_tuple().exponent
        decimals = min(max(least, -exact if isinstance(exact, int) else 0), _MOST_DIGITS)
        return f"{abs(value):,.{decimals}f}".translate({ord(","): self.thousand, ord("."): self.decimal})


_ENGLISH = Words(
    "en", "Supplier", "Bill to", "Invoice", "Credit note", "Invoice number", "Credit note number", "Invoice date",
    "Credit note date", "Due date", "Description", "Qty", "Unit price", "Amount", "Subtotal", "VAT", "Total VAT",
    "Total due", "Total", "VAT number", "Purchase", "VAT rate", "Net", "Page {page} of {pages}",
    "Drawn by Weir, not by the supplier",
    "January February March April May June July August September October November December", "{day} {month} {year}",
    ".", ",", symbol_first=True,
)  # fmt: skip
LANGUAGES = {
    words.code: words
    for words in (
        _ENGLISH,
        Words(
            "fr", "Fournisseur", "Facturé à", "Facture", "Avoir", "Facture n°", "Avoir n°", "Date de facture",
            "Date de l'avoir", "Échéance", "Désignation", "Qté", "Prix unitaire", "Montant", "Total HT", "TVA",
            "Total TVA", "Total TTC", "Total TTC", "N° TVA", "Achat", "Taux", "Base HT", "Page {page} sur {pages}",
            "Établi par Weir, non par le fournisseur",
            "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
            "{day} {month} {year}", ",", _NARROW,
        ),
        Words(
            "de", "Lieferant", "Rechnungsempfänger", "Rechnung", "Gutschrift", "Rechnungsnummer",
            "Gutschriftsnummer", "Rechnungsdatum", "Gutschriftsdatum", "Fällig am", "Beschreibung", "Menge",
            "Einzelpreis", "Betrag", "Nettobetrag", "MwSt.", "MwSt. gesamt", "Gesamtbetrag", "Gesamtbetrag",
            "USt-IdNr.", "Einkauf", "Steuersatz", "Netto", "Seite {page} von {pages}",
            "Von Weir gezeichnet, nicht vom Lieferanten",
            "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
            "{day}. {month} {year}", ",", ".",
        ),
        Words(
            "it", "Fornitore", "Spett.le", "Fattura", "Nota di credito", "Numero fattura", "Numero nota di credito",
            "Data fattura", "Data documento", "Scadenza", "Descrizione", "Q.tà", "Prezzo", "Importo", "Imponibile",
            "IVA", "Totale IVA", "Totale fattura", "Totale documento", "P. IVA", "Acquisto", "Aliquota",
            "Imponibile", "Pagina {page} di {pages}", "Redatto da Weir, non dal fornitore",
            "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
            "{day} {month} {year}", ",", ".",
        ),
        Words(
            "es", "Proveedor", "Cliente", "Factura", "Factura rectificativa", "Número de factura", "Número de abono",
            "Fecha de factura", "Fecha de emisión", "Vencimiento", "Concepto", "Cant.", "Precio", "Importe",
            "Base imponible", "IVA", "Total IVA", "Total a pagar", "Importe total", "NIF-IVA", "Compra", "Tipo",
            "Base", "Página {page} de {pages}", "Redactado por Weir, no por el proveedor",
            "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
            "{day} de {month} de {year}", ",", ".",
        ),
        Words(
            "nl", "Leverancier", "Factuuradres", "Factuur", "Creditnota", "Factuurnummer", "Creditnota nr.",
            "Factuurdatum", "Datum", "Vervaldatum", "Omschrijving", "Aantal", "Prijs", "Bedrag", "Subtotaal", "btw",
            "Totaal btw", "Totaal te betalen", "Totaalbedrag", "Btw-nr.", "Inkoop", "Tarief", "Netto",
            "Pagina {page} van {pages}", "Opgemaakt door Weir, niet door de leverancier",
            "januari februari maart april mei juni juli augustus september oktober november december",
            "{day} {month} {year}", ",", ".",
        ),
    )
}  # fmt: skip

_COUNTRIES = {
    **dict.fromkeys(("fr", "be", "lu", "mc", "france", "belgique", "luxembourg"), "fr"),
    **dict.fromkeys(("de", "at", "li", "germany", "deutschland", "austria", "österreich"), "de"),
    **dict.fromkeys(("it", "sm", "italy", "italia"), "it"),
    **dict.fromkeys(("es", "ad", "spain", "españa"), "es"),
    **dict.fromkeys(("nl", "netherlands", "nederland"), "nl"),
}
"""QuickBooks names a company's country by its ISO code or as people typed it."""


def words_of(company: Company | None) -> Words:
    """The language of the buyer's country."""
    country = (company.country or (company.address.country if company.address else None)) if company else None
    return LANGUAGES[_COUNTRIES.get((country or "").strip().casefold(), "en")]
