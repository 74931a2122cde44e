"""Material for the names of invented suppliers, by language. The rare words are made of syllables and mean nothing."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tongue:
    """How companies of one country are called; `forms` are legal forms, each in the spellings people use."""

    country: str
    currency: str
    forms: tuple[tuple[str, ...], ...]
    trades: tuple[str, ...]
    wonders: tuple[str, ...]
    of: tuple[str, ...]
    kin: tuple[str, ...]
    first: tuple[str, ...]
    last: tuple[str, ...]
    vat: str | None = None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TONGUES = (
    Tongue(
        country="FR",
        currency="EUR",
        forms=(("SARL", "S.A.R.L.", "Société à responsabilité limitée"), ("SAS", "S.A.S."), ("SASU",), ("EURL",)),
        trades=_words("Transports Conseil Imprimerie Nettoyage Menuiserie Énergie Traiteur Maintenance Sécurité"),
        wonders=_words("Gargouille Salamandre Mandragore Nébuleuse Vouivre Girouette Farandole Bécassine Comète"),
        of=("de la", "à la", "et la"),
        kin=("& Fils", "et Associés", "Frères"),
        first=_words("Bru Vau Mou Çal Trem Ploué Sér Quim Fontré Garg Lési Ombré Dar"),
        last=_words("vonne lieux ménil gnac doux zelle bric rèche pluche nèse quefort"),
        vat="FR",
    ),
    Tongue(
        country="DE",
        currency="EUR",
        forms=(("GmbH", "Gesellschaft mit beschränkter Haftung"), ("AG",), ("GmbH & Co. KG",), ("UG", "UG & Co. KG")),
        trades=_words("Technik Logistik Druckerei Gebäudereinigung Beratung Werkzeuge Elektro Verlag Großhandel"),
        wonders=_words("Irrlicht Wunderlampe Nebelkrähe Wolpertinger Tarnkappe Siebenmeilen Nachtmahr Glühwurm"),
        of=("zum", "am", "und"),
        kin=("& Söhne", "& Partner", "Gebrüder"),
        first=_words("Brö Kralm Schnör Quast Wimp Zwiesel Hulm Trüm Gnap Olm Pfrun"),
        last=_words("hagen bökel mert dorfer zwack stätt nitz lohe bruch wimmer"),
        vat="DE",
    ),
    Tongue(
        country="NL",
        currency="EUR",
        forms=(("B.V.", "BV", "Besloten vennootschap"), ("V.O.F.", "VOF")),
        trades=_words("Drukkerij Schoonmaak Vervoer Techniek Advies Kantoor Bouw"),
        wonders=_words("Droomwolk Spookmolen Zeemeermin Luchtkasteel Dwaallicht"),
        of=("van de", "bij de"),
        kin=("& Zonen", "en Co"),
        first=_words("Gril Bom Snoe Krui Wiep Tjol Fluk"),
        last=_words("stra dijkel mansveen horst werpel kuyn"),
    ),
    Tongue(
        country="ES",
        currency="EUR",
        forms=(("S.L.", "SL", "Sociedad Limitada"), ("S.A.",), ("S.L.U.", "SLU")),
        trades=_words("Suministros Talleres Transportes Gestoría Limpiezas Electricidad"),
        wonders=_words("Quimera Espejismo Luciérnaga Veleta Trasgo"),
        of=("de la", "y la"),
        kin=("e Hijos", "Hermanos"),
        first=_words("Zal Mañ Gor Ped Quir Esp Albó"),
        last=_words("dueña zorra quiles bondo rétula menda"),
    ),
    Tongue(
        country="IT",
        currency="EUR",
        forms=(("S.r.l.", "SRL"), ("S.p.A.", "SPA"), ("S.n.c.",)),
        trades=_words("Forniture Officine Trasporti Pulizie Tipografia Studio"),
        wonders=_words("Chimera Lanterna Folletto Miraggio Girandola"),
        of=("della", "e"),
        kin=("e Figli", "Fratelli"),
        first=_words("Bran Gher Zuc Pel Tor Mùs"),
        last=_words("dolfi zoni battù retta lùcia mondo"),
    ),
    Tongue(
        country="GB",
        currency="GBP",
        forms=(("Ltd", "Limited", "Ltd."), ("PLC", "plc"), ("LLP",)),
        trades=_words("Hosting Stationers Freight Catering Security Software Print Cleaning"),
        wonders=_words("Gryphon Moonrake Hobnob Wildgoose Willowisp Thimble"),
        of=("of the", "and the"),
        kin=("& Sons", "Brothers", "& Co"),
        first=_words("Wob Quill Thrum Snod Puddle Crump Jab"),
        last=_words("bleton sworth gate wick erley more stoke"),
    ),
    Tongue(
        country="US",
        currency="USD",
        forms=(("Inc.", "Inc", "Incorporated"), ("LLC", "L.L.C."), ("Corp.", "Corporation")),
        trades=_words("Cloud Analytics Data Software Domains Supplies Labs"),
        wonders=_words("Jackalope Tumblewish Snipehunt Bigfoot"),
        of=("and",),
        kin=("& Co", "Bros"),
        first=_words("Zor Flim Kaza Blip Yon Dex"),
        last=_words("tronix flam zoom bloop der onyx"),
    ),
)
SHARES = (50, 12, 7, 6, 6, 9, 10)
"""How many of a hundred suppliers speak each of TONGUES."""

GENERAL = ("Group", "Services", "Solutions", "International", "Holding", "Consulting")
BRANCHES = ("France", "Deutschland", "Europe", "UK", "Italia")
JARGON = ("PRLV SEPA ", "VIR SEPA ", "VIR ", "CB ", "CARTE ", "PAIEMENT ", "SEPA DIRECT DEBIT ", "PRLV ", "VIR INST ")


def rare(dice: random.Random, tongue: Tongue) -> str:
    """A word that nobody else is called by, or hardly anybody."""
    middle = dice.choice(tongue.first).lower() if dice.random() < 0.25 else ""
    return dice.choice(tongue.first) + middle + dice.choice(tongue.last)
