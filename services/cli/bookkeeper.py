"""What a bookkeeper does in QuickBooks between two pulls, done in the sandbox."""

from dataclasses import dataclass
from typing import Any

import httpx

from common.errors import WeirError


@dataclass(frozen=True)
class Bookkeeper:
    """One company of the sandbox, through the sandbox's own API."""

    http: httpx.AsyncClient
    realm: str
    organization: str

    @classmethod
    async def new_company(cls, http: httpx.AsyncClient, seed: str, bills: int) -> "Bookkeeper":
        """Make up a company with so many bills."""
        made = await _json(http.post("/sandbox/companies", json={"seed": seed, "bills": bills}))
        return cls(http, made["realm"], made["organization"])

    async def enter_bill_like(self, bill: str, number: str) -> str:
        """Enter a bill of the same supplier under a number of its own and another amount; its id."""
        like = (await _json(self.http.get(self._bill(bill))))["Bill"]
        line = {
            "DetailType": "AccountBasedExpenseLineDetail",
            "Amount": 137.20,
            "Description": "Entered while you watched",
            "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "69", "name": "Repairs"}},
        }
        fields = {name: like[name] for name in ("VendorRef", "CurrencyRef", "TxnDate", "DueDate") if name in like}
        path = f"/sandbox/companies/{self.realm}/quickbooks/bill"
        made = await _json(self.http.post(path, json={**fields, "DocNumber": number, "Line": [line]}))
        return str(made["Bill"]["Id"])

    async def edit(self, bill: str, number: str) -> None:
        """Correct a bill's supplier invoice number."""
        await _json(self.http.patch(self._bill(bill), json={"DocNumber": number}))

    async def pay(self, bill: str) -> None:
        """Pay what is open."""
        await _json(self.http.post(f"{self._bill(bill)}/pay"))

    async def delete(self, bill: str) -> None:
        """Delete a bill."""
        await _json(self.http.delete(self._bill(bill)))

    async def truth(self) -> dict[str, dict[str, Any]]:
        """What is really so, by bill id: its counterparts in Qonto, whether it is a duplicate."""
        answer = await _json(self.http.get(f"/sandbox/truth/{self.realm}"))
        return {one["bill"]: one for one in answer["truth"]}

    async def duplicates(self) -> int:
        """Live Qonto entries beyond the first of each bill, counted in the sandbox's own store."""
        return int((await _json(self.http.get(f"/sandbox/duplicates/{self.realm}")))["surplus"])

    async def calls(self) -> int:
        """Requests both providers answered so far."""
        return int((await _json(self.http.get("/sandbox/calls")))["total"])

    def _bill(self, bill: str) -> str:
        return f"/sandbox/companies/{self.realm}/quickbooks/bill/{bill}"


async def _json(request: Any) -> Any:
    response: httpx.Response = await request
    if response.status_code != 200:
        raise WeirError(f"the sandbox answered HTTP {response.status_code}: {response.text:.200}")
    return response.json()
