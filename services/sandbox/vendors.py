"""Name material for invented companies, and the ways in which people misspell it."""

import random
import re
import unicodedata
from dataclasses import dataclass

HOME_NAMES = (
    "Les Parapluies Volants SAS",
    "Fabrique de Boussoles Rêveuses SARL",
    "Manufacture du Thé Invisible SAS",
    "Ateliers de l'Escargot Pressé SA",
    "Comptoir des Horloges Molles SARL",
)
HOME_ADDRESS = ("1 rue de l'Invention", "75000 Fableville", "France")

# Each core name is whimsical on purpose: no such company is meant, and none could be taken for real.
CORES: dict[str, tuple[str, ...]] = {
    "FR": (
        "Papeterie de la Lune Bleue", "Atelier du Nuage Bleu", "Nuage Bleu Énergie", "Société des Moulins Rêveurs",
        "Café du Dragon Endormi", "Imprimerie Trois Licornes", "Licorne & Fils Transports", "Boulangerie Météorite",
        "Les Frères Brindezingue", "Cabinet Loufoque & Associés", "Électricité Farfadet", "Fontaine Imaginaire",
        "Nettoyage Plume d'Ogre", "Agence Tire-Lune", "Garage Carabosse", "Hôtel de la Marmotte Dorée",
        "Traiteur Potiron Magique", "Compagnie des Sabliers", "Éditions du Griffon Pâle", "Jardins de Nulle-Part",
        "Assurances Ventenpoupe", "Telecom Pigeon Express", "Logiciels Chouette Hibou", "Maison Abracadabra",
        "Bureau d'Études Zéphyr Fou", "Verrerie Poudre d'Étoile", "Formation Ruban de Möbius",
        "Sécurité Dodo Vigilant", "Mobilier Tabouret Ailé", "Quincaillerie Clou d'Argent Fin",
    ),
    "DE": (
        "Wolkenschmiede Papier", "Nordlicht Fabelwerk", "Fabelwerk Süd", "Kobold & Söhne Spedition",
        "Zauberkessel Gastronomie", "Bücherwurm Verlag Utopia", "Regenbogen Reinigung Traumland",
        "Mondschein Messtechnik", "Drachenfels Fantasie Software",
        "Heinzelmann Gebäudedienste", "Löwenzahn Logistik Nimmerland",
        "Rübezahl Werkzeuge", "Murmeltier Beratung",
    ),
    "NL": (
        "De Vliegende Theepot", "Windmolen & Wolk",
        "Tulpendraak Software", "Kabouter Logistiek", "Het Zingende Fietswiel",
        "Waterlelie Verzinsel Drukkerij", "Stroopwafel Ruimtevaart",
    ),
    "ES": (
        "Talleres Molino Encantado", "Imprenta Luna de Papel", "Transportes Caracol Veloz", "Bodegas del Duende",
        "Consultoría Nube Fantástica", "Suministros Unicornio Azul",
    ),
    "IT": (
        "Officina Pinguino Volante", "Tipografia Stella Inventata",
        "Caffè del Grillo Saggio", "Trasporti Lumaca Veloce",
        "Studio Fata Turchese",
    ),
    "GB": (
        "Quixotic Kettle & Sons", "Moonbeam Stationers", "Moonbeam Stationers Cloud", "Dragonfly Make-Believe Software",
        "The Imaginary Biscuit Company", "Puddle and Pobble Logistics",
        "Wonderwidget Hosting", "Teapot Observatory Consulting",
    ),
    "US": (
        "Unicorn Server Ranch", "Makebelieve Cloud Works", "Jabberwock Analytics", "Snark & Boojum Software",
        "Fictional Freight Company", "Neverland Domain Names",
    ),
    "CH": ("Alpenmurmel Uhrwerk", "Schneeflocke Fantasiebank Service", "Edelweiss Märchen Treuhand"),
}  # fmt: skip
FORMS = {
    "FR": ("SARL", "SAS", "SA", "EURL", "SASU", "S.A.R.L."),
    "DE": ("GmbH", "GmbH & Co. KG", "AG", "UG (haftungsbeschränkt)", "e.K."),
    "NL": ("B.V.", "BV", "N.V.", "V.O.F."),
    "ES": ("S.L.", "S.A.", "SL", "S.L.U."),
    "IT": ("S.r.l.", "S.p.A.", "SNC", "s.r.l."),
    "GB": ("Ltd", "Limited", "PLC", "LLP"),
    "US": ("Inc.", "LLC", "Corp."),
    "CH": ("AG", "GmbH", "SA"),
}
LANGUAGE = {"FR": "fr", "DE": "de", "NL": "nl", "ES": "es", "IT": "it", "GB": "en", "US": "en", "CH": "de"}
CURRENCY = {"GB": "GBP", "US": "USD", "CH": "CHF"}
TOWNS = {
    "FR": ("44999 Port-Chimère", "69999 Mirageville", "33999 Songe-sur-Mer"),
    "DE": ("99998 Traumstadt", "99997 Nimmerheim"),
    "NL": ("9999 ZZ Verzinseldam", "9998 ZY Droomhuizen"),
    "ES": ("99999 Villa Ensueño",),
    "IT": ("99999 Borgo Fantasia",),
    "GB": ("Nowhere-on-Sea ZZ9 9ZZ", "Little Imagining ZZ8 8ZZ"),
    "US": ("Fictionville, ZZ 99999",),
    "CH": ("9999 Märchenwil",),
}
STREETS = {
    "FR": ("12 rue des Songes", "3 place du Mirage", "8 quai des Chimères"),
    "DE": ("Traumweg 7", "Märchengasse 12"),
    "NL": ("Droomstraat 41", "Verzinselkade 2"),
    "ES": ("Calle Quimera 3",),
    "IT": ("Via Fantasia 9",),
    "GB": ("4 Fable Lane", "19 Makebelieve Mews"),
    "US": ("77 Nowhere Road",),
    "CH": ("Fabelweg 5",),
}
COUNTRY_NAMES = {"FR": "France", "DE": "Deutschland", "NL": "Nederland", "ES": "España", "IT": "Italia",
                 "GB": "United Kingdom", "US": "USA", "CH": "Schweiz"}  # fmt: skip
CUSTOMERS = (
    "Théâtre des Ombres Joyeuses", "Mairie de Fableville", "Cirque Cacahuète", "Bibliothèque du Bout du Rêve",
    "Kindergarten Siebenschläfer", "Museum of Unlikely Things", "Librería Dragón Tímido", "Orchestre des Grenouilles",
    "Stadtwerke Traumstadt", "Zoo Imaginaire", "Café Zéro Gravité", "Studio Papillon de Nuit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sector:
    """What a supplier sells: descriptions in French and English, the range of a bill's net amount, and
    whether it bills monthly.
    """

    account: tuple[str, str]
    lines: tuple[str, ...]
    english: tuple[str, ...]
    low: int
    high: int
    monthly: bool = False
    rate: str = "20"


SECTORS = (
    Sector(
        ("60", "Fournitures de bureau"),
        ("Papier A4 80 g", "Stylos plume", "Cartouches d'encre", "Classeurs"),
        ("A4 paper 80 g", "Fountain pens", "Ink cartridges", "Binders"),
        18,
        420,
    ),
    Sector(
        ("61", "Logiciels et hébergement"),
        ("Formule hébergement", "Licences utilisateurs", "Assistance"),
        ("Hosting plan", "User licences", "Support"),
        9,
        1400,
        monthly=True,
    ),
    Sector(
        ("62", "Transports"),
        ("Livraison express", "Palette", "Supplément carburant"),
        ("Express delivery", "Pallet", "Fuel surcharge"),
        35,
        2600,
    ),
    Sector(("63", "Honoraires"), ("Conseil", "Audit", "Atelier"), ("Consulting", "Audit", "Workshop"), 300, 9800),
    Sector(
        ("64", "Restauration"),
        ("Plateaux repas", "Buffet", "Boissons"),
        ("Lunch trays", "Buffet", "Drinks"),
        22,
        900,
        rate="10",
    ),
    Sector(
        ("65", "Télécommunications"),
        ("Forfait fibre", "Lignes mobiles"),
        ("Fibre plan", "Mobile lines"),
        29,
        380,
        monthly=True,
    ),
    Sector(("66", "Loyers et charges"), ("Loyer", "Charges"), ("Rent", "Service charges"), 650, 4800, monthly=True),
    Sector(
        ("67", "Documentation"), ("Abonnement revue", "Livres"), ("Journal subscription", "Books"), 12, 240, rate="5.5"
    ),
    Sector(
        ("68", "Entretien"),
        ("Nettoyage des locaux", "Vitrerie"),
        ("Office cleaning", "Window cleaning"),
        90,
        1200,
        monthly=True,
    ),
    Sector(
        ("69", "Marchandises"),
        ("Toile imperméable", "Baleines", "Manches en bois", "Ressorts"),
        ("Waterproof cloth", "Ribs", "Wooden handles", "Springs"),
        150,
        18500,
    ),
)


@dataclass(frozen=True, slots=True)
class Supplier:
    """A legal supplier as its documents name it; several QuickBooks vendors may stand for it."""

    legal: str
    core: str
    country: str
    currencies: tuple[str, ...]
    sector: Sector
    trade: str | None
    vat: str
    iban: str
    address: tuple[str, ...]
    layout: int
    language: str
    color: tuple[int, int, int]
    numbering: str


NUMBERINGS = (
    "F-{y}-{n:04}",
    "{n:06}",
    "INV-{n:05}",
    "RE{y}{n:05}",
    "{y}/{n:03}",
    "FA{yy}{m:02}-{n:04}",
    "{n}",
    "VK-{n:05}",
)
COLORS = ((28, 78, 128), (156, 52, 40), (36, 112, 84), (92, 56, 132), (40, 44, 52), (186, 112, 20), (20, 116, 138))


def suppliers(rng: random.Random) -> list[Supplier]:
    """Every legal supplier of a company, drawn from the material."""
    return [_supplier(rng, country, core) for country, cores in CORES.items() for core in cores]


def _supplier(rng: random.Random, country: str, core: str) -> Supplier:
    home = CURRENCY.get(country, "EUR")
    others = [currency for currency in ("EUR", "USD", "GBP") if currency != home]
    currencies = (home, rng.choice(others)) if country != "FR" and rng.random() < 0.25 else (home,)
    words = core.split()
    trade = " ".join(words[-2:]) if len(words) > 2 and rng.random() < 0.2 else None
    language = LANGUAGE[country] if rng.random() < 0.85 else "en"
    return Supplier(
        legal=f"{core} {rng.choice(FORMS[country])}",
        core=core,
        country=country,
        currencies=currencies,
        sector=rng.choice(SECTORS),
        trade=trade,
        vat=_vat(rng, country),
        iban=_iban(rng, country),
        address=(rng.choice(STREETS[country]), rng.choice(TOWNS[country]), COUNTRY_NAMES[country]),
        layout=rng.randrange(4),
        language=language,
        color=rng.choice(COLORS),
        numbering=rng.choice(NUMBERINGS),
    )


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _vat(rng: random.Random, country: str) -> str:
    """A VAT number in the country's form; "999" and the like mark it as invented."""
    match country:
        case "FR":
            siren = "999" + _digits(rng, 6)
            return f"FR{(12 + 3 * (int(siren) % 97)) % 97:02}{siren}"
        case "NL":
            return f"NL999{_digits(rng, 6)}B{rng.randrange(1, 99):02}"
        case "ES":
            return f"ESB99{_digits(rng, 5)}9"
        case "IT":
            return f"IT999{_digits(rng, 8)}"
        case "CH":
            return f"CHE-999.{_digits(rng, 3)}.{_digits(rng, 3)}"
        case "US":
            return ""
        case _:
            return f"{country}999{_digits(rng, 6)}"


IBAN_BODY = {"FR": 23, "DE": 18, "NL": 14, "ES": 20, "IT": 23, "GB": 18, "CH": 17, "US": 23}


def _iban(rng: random.Random, country: str) -> str:
    """An IBAN whose check digits hold, at a bank that does not exist. US suppliers bank in France here."""
    bank = {"NL": "FABL", "GB": "FABL"}.get(country, "99999")
    where = "FR" if country == "US" else country
    if where == "IT":
        bank = "X99999"
    body = bank + _digits(rng, IBAN_BODY[country] - len(bank))
    number = int("".join(str(int(char, 36)) for char in body + where + "00"))
    return f"{where}{98 - number % 97:02}{body}"


def plain(text: str) -> str:
    """Without accents."""
    decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o"))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


ABBREVIATIONS = (
    ("Société", "Sté"),
    ("Compagnie", "Cie"),
    ("Company", "Co"),
    ("Frères", "Frs"),
    ("Imprimerie", "Impr."),
    ("Consulting", "Cons."),
    ("Logistics", "Log."),
    ("Software", "SW"),
    ("Transports", "Transp."),
    ("Associés", "Assoc."),
)


def _joined(rng: random.Random, name: str) -> str:
    return name.replace(" & ", rng.choice((" and ", " et ", " + ", " und ", "&")))


def _shortened(rng: random.Random, name: str) -> str:
    del rng
    for long, short in ABBREVIATIONS:
        name = name.replace(long, short)
    return name


def _other_form(rng: random.Random, name: str) -> str:
    """The legal form written otherwise: with dots, without, in capitals."""
    head, _, form = name.rpartition(" ")
    dense = form.replace(".", "")
    return f"{head} {rng.choice((dense, dense.upper(), '.'.join(dense) + '.', form))}" if head else name


def spelled(rng: random.Random, supplier: Supplier, *, noise: float = 0.5) -> str:
    """The supplier's name as somebody typed or a machine read it; 0 noise gives the legal name."""
    name = supplier.legal
    if rng.random() < noise:
        name = supplier.trade if supplier.trade and rng.random() < 0.6 else supplier.core
    elif rng.random() < noise:
        name = _other_form(rng, name)
    for change, chance in ((_joined, 0.6), (_shortened, 0.35)):
        if rng.random() < noise * chance:
            name = change(rng, name)
    if rng.random() < noise * 0.4:
        name = plain(name)
    shape = rng.random()
    if shape < noise * 0.25:
        name = name.upper()
    elif shape < noise * 0.35:
        name = name.lower()
    return re.sub(r"\s+", " ", name).strip()
