"""The matching core: bills against what Qonto holds. Pure: no input or output, no clock, no event loop.

Who uses it needs `Books`, fed with records and entries in any order; `Judge`, which decides on the bills of books
as they stand; `decision_on` and `review_of`, which make messages of its verdicts; and `differences`, which takes
a stored decision again. How it goes about it, from the outside in:

- `books` holds what is known of a workspace; `facts` are what can be compared of a document, `columns` the same as
  rows of numbers, `index` and `postings` find the few that could be the same.
- `ranking` compares bills with those (`compare`, `names`, `references`) and says how likely each is alone (`model`).
- `judge` adds who else wants an entry, `remittances` what payments add up to (`sums`), `readiness` how fit the bill
  is by itself, `memory` what people taught and `selfcheck` how right earlier decisions proved.
- `decide` chooses, as a function of what is stored with the decision.
"""

from services.scorer.matching.books import Books
from services.scorer.matching.decisions import decision_on, review_of
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.matching.reproduce import differences

__all__ = ["Books", "Judge", "Verdict", "decision_on", "differences", "review_of"]
