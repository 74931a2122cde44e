"""The legal forms of companies: which words of a name are one, and what kind of company it says.

The table is our own where Qonto's customers are at home, and says for each form to which family it belongs;
the rest of Europe and the world comes from cleanco (https://pypi.org/project/cleanco/), whose abbreviations
count at the end of a name only and tell no family, since many mean different things in different countries.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from cleanco import prepare_default_terms
from rapidfuzz import fuzz

from services.scorer.matching.spelling import fold

Form = Literal["private limited", "public limited", "corporation", "partnership", "cooperative", "civil", "association"]
"""A family of legal forms; forms of one family are mistaken for each other, those of two families rarely."""

_PRIVATE = """
sarl; sa rl; sas; sasu; eurl; selarl; selas; selasu; srl; srls; sprl; sagl; sl; slu; slne; bv; bvba
ug; gmbh; mbh; ggmbh
ug haftungsbeschrankt; unternehmergesellschaft haftungsbeschrankt; unternehmergesellschaft
societe a responsabilite limitee; societe a responsabilite limitee unipersonnelle; societe par actions simplifiee
societe par actions simplifiee unipersonnelle; entreprise unipersonnelle a responsabilite limitee
gesellschaft mit beschrankter haftung; besloten vennootschap; besloten vennootschap met beperkte aansprakelijkheid
sociedad limitada; sociedad de responsabilidad limitada; sociedad limitada unipersonal
societa a responsabilita limitata; sociedade por quotas; societatea cu raspundere limitata
ltd; limited; private limited; private ltd; pvt ltd; pvt limited; pte ltd; pte limited; pty ltd; pty limited
proprietary limited; private limited company; limited company; co ltd; company limited; co limited; sdn bhd
llc; l l c; limited liability company; lda; unipessoal lda; ltda; limitada; s de rl; s de rl de cv
sp z oo; sp zoo; sp z o o; spolka z oo; spolka z ograniczona odpowiedzialnoscia; s ro; sro; spol s ro
doo; dooel; eood; ood; kft; aps; oy; ab; anpartsselskab; osakeyhtio; aktiebolag; osauhing; ehf; uab; sia; epe; ike; tov
ooo; ооо; общество с ограниченнои ответственностью
"""
_PUBLIC = """
sa; societe anonyme; sociedad anonima; sociedade anonima; sau; spa; societa per azioni; ag; aktiengesellschaft
nv; naamloze vennootschap; plc; public limited company; public limited; oyj; asa; a s; aktieselskab; allmennaksjeselskap
ab publ; se; societas europaea; akciova spolecnost; spolka akcyjna; nyrt
jsc; ojsc; pjsc; cjsc; joint stock company; open joint stock company; public joint stock company
closed joint stock company; oao; zao; pao; ао; оао; зао; пао; акционерное общество; публичное акционерное общество
"""
_CORPORATION = "inc; incorporated"
_PARTNERSHIP = """
snc; societe en nom collectif; scs; kg; ohg; gbr; kommanditgesellschaft; offene handelsgesellschaft
gesellschaft burgerlichen rechts; gmbh co kg; gmbh and co kg; gmbh u co kg; gmbh und co kg; gmbh cokg; gmbh and co
gmbh co; gmbh and co kgaa; mbh and co kg; mbh co kg; ug and co kg; ug haftungsbeschrankt and co kg
ag and co kg; co kg; cokg; and co kg
vof; vennootschap onder firma; llp; limited liability partnership; lp; lllp; limited partnership; i s; k s
"""
_COOPERATIVE = "scop; scic; cvba; sccl; scrl; societe cooperative; societe cooperative et participative; genossenschaft"
_CIVIL = "sci; scea; scm; societe civile; societe civile immobiliere; gaec; earl"
_ASSOCIATION = "asbl; vzw; ev; gie; groupement d interet economique; eingetragener verein"
_VAGUE = (
    "as; co; and co; cie; and cie; et cie; y cia; cia; und co; company; and company; corp; corporation; ek; scoop; scp"
)
_EITHER = {
    "as",
    "ab",
    "se",
    "spa",
    "ag",
    "co",
    "sl",
    "lp",
    "ev",
    "sia",
    "oy",
    "ug",
    "ek",
    "tov",
    "scm",
    "ike",
    "asa",
    "sau",
}
"""Forms that are words or initials as well: one at the end, or in front of a name that has no other."""
_SPACED = "sarl sasu sas srl slu sl sa bvba bv nv spa gmbh vof snc sci ooo eurl".split()
"""Forms that people write letter by letter."""
_NOT_FORMS = frozenset("uk nl at ca eu ok vat et ent pp private ong da pt sp se".split())
"""What cleanco takes for a form and bookkeepers for a country or a word."""
_TABLES: tuple[tuple[Form | None, str], ...] = (
    (None, _VAGUE),
    ("private limited", _PRIVATE),
    ("public limited", _PUBLIC),
    ("corporation", _CORPORATION),
    ("partnership", _PARTNERSHIP),
    ("cooperative", _COOPERATIVE),
    ("civil", _CIVIL),
    ("association", _ASSOCIATION),
)
_FAMILIES: Mapping[str, Form | None] = {
    form: family for family, table in _TABLES for form in re.split(r"\s*[;\n]\s*", table.strip())
}
_LONG = 12
"""Letters of a form from which on one may be misspelt or cut short and is still known."""
_STILL_KNOWN = 92.0

_Words = tuple[str, ...]
_Table = dict[str, list[_Words]]


def _by_first_word(forms: Iterable[_Words]) -> _Table:
    table: defaultdict[str, list[_Words]] = defaultdict(list)
    for words in sorted(set(forms), key=lambda words: (-len(words), words)):
        table[words[0]].append(words)
    return dict(table)


def _place(text: str) -> tuple[int, str]:
    """What is left of a misspelt form: how many words it has, and how it begins."""
    return text.count(" "), text[:2]


_FORMS: Mapping[_Words, Form | None] = {
    **{tuple(form.split()): family for form, family in _FAMILIES.items()},
    **{tuple(form): _FAMILIES[form] for form in _SPACED},
}
_ANYWHERE = _by_first_word(words for words in _FORMS if words[0] not in _EITHER or len(words) > 1)
_ABROAD = (tuple(fold(" ".join(parts)).split()) for _, parts in prepare_default_terms() if parts[0] not in _NOT_FORMS)
_AT_END: Mapping[_Words, Form | None] = {**dict.fromkeys(_ABROAD), **_FORMS}
_LONGEST_AT_END = max(map(len, _AT_END))
_MISSPELT: Mapping[tuple[int, str], list[str]] = {
    place: [form for form in _FAMILIES if len(form) >= _LONG and _place(form) == place]
    for place in {_place(form) for form in _FAMILIES if len(form) >= _LONG}
}


def split(words: Sequence[str]) -> tuple[list[str], Form | None]:
    """The words of a folded name without its legal forms, and the family of the last form that tells one.

    A name that is nothing but legal forms keeps its words.
    """
    rest = list(words)
    families: list[Form | None] = []
    while size := _at_end(rest):
        families.append(_family(rest[-size:]))
        del rest[-size:]
    kept, within = _without_forms(rest)
    families += reversed(within)
    if not families and len(kept) > 1 and kept[0] in _EITHER:
        families.append(_FAMILIES[kept.pop(0)])
    return kept or list(words), next(filter(None, families), None)


def _without_forms(words: Sequence[str]) -> tuple[list[str], list[Form | None]]:
    """The words that are no form wherever they stand, and the families of those that are, in their order."""
    kept: list[str] = []
    families: list[Form | None] = []
    at = 0
    while at < len(words):
        form = next((form for form in _ANYWHERE.get(words[at], ()) if tuple(words[at : at + len(form)]) == form), None)
        if form is None:
            kept.append(words[at])
        else:
            families.append(_FORMS[form])
        at += len(form or "-")
    return kept, families


def _at_end(words: Sequence[str]) -> int:
    """How many words at the end are a legal form; one word always stays."""
    sizes = range(min(_LONGEST_AT_END, len(words) - 1), 0, -1)
    return next((size for size in sizes if tuple(words[-size:]) in _AT_END or _misspelt(words[-size:])), 0)


def _family(words: Sequence[str]) -> Form | None:
    form = tuple(words)
    return _AT_END[form] if form in _AT_END else _FAMILIES[_misspelt(words)]


def _misspelt(words: Sequence[str]) -> str:
    """The long form that was misspelt or cut short, by people or by OCR; empty if there is none."""
    text = " ".join(words)
    if len(text) < _LONG:
        return ""
    alike = (form for form in _MISSPELT.get(_place(text), ()) if fuzz.ratio(text, form, score_cutoff=_STILL_KNOWN))
    return next(alike, "")
