"""Words that tell suppliers apart badly or not at all, whatever the workspace."""

JOINING = frozenset("the la le les el los de du des der die das van von of d l and".split())
PLACES = frozenset(
    "europe european eu emea france paris deutschland germany berlin italia italy espana spain iberica nederland "
    "netherlands belgium belgique schweiz suisse switzerland osterreich austria uk usa us ireland luxembourg "
    "international global worldwide".split()
)
COMMON = (
    JOINING
    | PLACES
    | frozenset(
        "group groupe gruppe holding holdings services service solutions systems consulting management beheer trading "
        "industries industrie partners associates investments investment government foundation corporation business "
        "societe etablissements".split()
    )
)
GIVEN_NAMES = frozenset(
    word
    for line in (
        "adam albert alexander alexandre alfred alice andre andrea andreas angela anna anne anthony antoine antonio",
        "arthur barbara benjamin bernard bernd bruno camille carlos carmen caroline catherine charles charlotte",
        "chloe christian christine christophe claire claude claudia clement daniel david denis dennis didier dirk",
        "dominique edward elena elisabeth elizabeth emily emma eric erik ernst etienne fabrice federico felix",
        "fernando florence florian francesco francis francisco francois frank franz frederic gabriel georg george",
        "georges gerard giovanni giuseppe guillaume guido gustav hannah hans harold heinrich helene helga henri henry",
        "herbert herve hugo isabelle jacques james javier jean jeanne jennifer jerome joachim johan johannes john",
        "jonas jorge joseph juan julia julian julie julien jurgen karin karl kevin klaus laura laurent leon linda",
        "louis louise luca lucas lucie luigi luis magali manfred manuel marc marcel marco margaret maria marie mario",
        "marion mark markus martha martin martina mary mathieu matthias maurice maxime michael michel miguel monika",
        "nathalie nicolas nicole olivier oscar oskar pablo paola pascal patricia patrick paul paula pedro peter",
        "petra philip philippe pierre pieter rafael raphael raymond rebecca renate rene ricardo richard robert",
        "roberto roger roland romain rudolf sabine samuel sandra sara sarah sebastian sebastien serge silvia simon",
        "simone sofia sophie stefan stephan stephane stephanie stephen steven susan susanne sylvain sylvie theo",
        "therese thierry thomas tobias ursula valerie vincent walter werner wilhelm willem william wolfgang xavier",
        "yann yves",
    )
    for word in line.split()
)
NOT_TELLING_ALONE = (
    COMMON
    | GIVEN_NAMES
    | frozenset(
        "agence alpha atelier auto bank banque boulangerie cafe centre center club digital energy express garage "
        "hotel immobilier logistics market media pharmacie press restaurant software studio taxi tech technologies "
        "technology transport transports travel union universal".split()
    )
)
"""Words that name no supplier all by themselves."""
BANK_JARGON = frozenset(
    "prlv sepa vir virement cb carte card paiement payment facture invoice "
    "direct debit transfer ref inst recu emis".split()
)
