"""Intuit's OAuth: consent, codes, rotation in its three readings, hard expiry, revocation, and 401s."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.sandbox.desk import CALLBACK, QUICKBOOKS_APP, Company, Desk, until

DAY = 86_400


def consent(desk: Desk, **more: str) -> httpx.Response:
    params = {
        "client_id": QUICKBOOKS_APP[0],
        "response_type": "code",
        "scope": "com.intuit.quickbooks.accounting",
        "redirect_uri": CALLBACK,
        "state": "s-1",
        **more,
    }
    return desk.http.get(f"{desk.urls.quickbooks}/connect/oauth2", params=params)


def answered(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 302, response.text
    return {key: values[0] for key, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


def token(desk: Desk, expect: int = 200, headers: dict[str, str] | None = None, **form: str) -> dict[str, Any]:
    url = f"{desk.urls.quickbooks}/oauth2/v1/tokens/bearer"
    response = desk.http.post(url, data=form, auth=QUICKBOOKS_APP, headers=headers)
    assert response.status_code == expect, response.text
    assert response.headers["intuit_tid"].startswith("1-")
    found: dict[str, Any] = response.json()
    return found


def connected(desk: Desk) -> dict[str, Any]:
    code = answered(consent(desk))["code"]
    return token(desk, grant_type="authorization_code", code=code, redirect_uri=CALLBACK)


def refresh(desk: Desk, value: str, expect: int = 200, **more: Any) -> dict[str, Any]:
    return token(desk, expect, grant_type="refresh_token", refresh_token=value, **more)


def works(company: Company, access: str) -> int:
    headers = {"Authorization": f"Bearer {access}"}
    return company.quickbooks("GET", "/preferences", headers=headers).status_code


def test_consent_carries_state_and_realm(company: Company, desk: Desk) -> None:
    back = answered(consent(desk))
    assert (back["state"], back["realmId"]) == ("s-1", company.realm)
    chosen = desk.company(seed="other")
    desk.turn(approve_company=company.realm)
    assert answered(consent(desk))["realmId"] == company.realm != chosen.realm


def test_denial_and_the_page(company: Company, desk: Desk) -> None:
    desk.turn(approval="deny")
    assert answered(consent(desk)) == {"error": "access_denied", "state": "s-1"}
    desk.turn(approval="manual")
    page = consent(desk)
    assert company.realm in page.text
    assert "Approve" in page.text
    form = {
        "client_id": QUICKBOOKS_APP[0], "response_type": "code", "scope": "com.intuit.quickbooks.accounting",
        "redirect_uri": CALLBACK, "state": "s-1", "company": company.realm, "decision": "approve",
    }  # fmt: skip
    picked = desk.http.post(f"{desk.urls.quickbooks}/connect/oauth2", data=form)
    assert answered(picked)["realmId"] == company.realm
    denied = desk.http.post(f"{desk.urls.quickbooks}/connect/oauth2", data={**form, "decision": "deny"})
    assert answered(denied)["error"] == "access_denied"


def test_wrong_app_gets_a_page_not_a_redirect(company: Company, desk: Desk) -> None:
    del company
    assert consent(desk, client_id="nobody").status_code == 400
    assert consent(desk, redirect_uri="ftp://elsewhere").status_code == 400


def test_code_is_good_once(company: Company, desk: Desk) -> None:
    code = answered(consent(desk))["code"]
    wrong = token(desk, 400, grant_type="authorization_code", code=code, redirect_uri="http://localhost:1/")
    assert wrong == {"error": "invalid_grant", "error_description": "Invalid authorization code"}
    pair = token(desk, grant_type="authorization_code", code=code, redirect_uri=CALLBACK)
    assert (pair["token_type"], pair["expires_in"], works(company, pair["access_token"])) == ("bearer", 3600, 200)
    assert (
        token(desk, 400, grant_type="authorization_code", code=code, redirect_uri=CALLBACK)["error"] == "invalid_grant"
    )
    assert works(company, pair["access_token"]) == 200
    desk.turn(old_token="reuse_revokes_family")
    token(desk, 400, grant_type="authorization_code", code=code, redirect_uri=CALLBACK)
    assert works(company, pair["access_token"]) == 401


def test_refresh_value_stays_a_day_then_rotates(company: Company, desk: Desk) -> None:
    del company
    first = connected(desk)["refresh_token"]
    assert refresh(desk, first)["refresh_token"] == first
    desk.turn(clock_offset=DAY + 1)
    second = refresh(desk, first)["refresh_token"]
    assert second != first
    assert refresh(desk, first)["refresh_token"] == second
    desk.turn(clock_offset=2 * DAY + 10)
    assert refresh(desk, first, 400)["error"] == "invalid_grant"
    assert refresh(desk, second)["refresh_token"] != second


def test_dead_at_once(company: Company, desk: Desk) -> None:
    desk.turn(old_token="dead_at_once", rotate_after=0)
    first = connected(desk)["refresh_token"]
    second = refresh(desk, first)
    assert refresh(desk, first, 400)["error"] == "invalid_grant"
    assert works(company, second["access_token"]) == 200


def test_reuse_kills_the_family(company: Company, desk: Desk) -> None:
    desk.turn(old_token="reuse_revokes_family", rotate_after=0)
    first = connected(desk)["refresh_token"]
    second = refresh(desk, first)
    refresh(desk, first, 400)
    assert works(company, second["access_token"]) == 401
    assert refresh(desk, second["refresh_token"], 400)["error"] == "invalid_grant"


def test_idle_window_and_hard_expiry(company: Company, desk: Desk) -> None:
    del company
    desk.turn(hard_expiry=150 * DAY)
    value = connected(desk)["refresh_token"]
    asked = {"x-include-refresh-token-hard-expires-in": "true"}
    desk.turn(clock_offset=90 * DAY)
    pair = refresh(desk, value, headers=asked)
    assert pair["x_refresh_token_hard_expires_in"] == pytest.approx(60 * DAY, abs=5)
    assert pair["x_refresh_token_expires_in"] <= 60 * DAY
    desk.turn(clock_offset=151 * DAY)
    refresh(desk, pair["refresh_token"], 400)
    desk.turn(clock_offset=0, hard_expiry=157_680_000)
    idle = connected(desk)["refresh_token"]
    desk.turn(clock_offset=101 * DAY)
    refresh(desk, idle, 400)


def test_bad_client_and_bad_grant_type(desk: Desk) -> None:
    url = f"{desk.urls.quickbooks}/oauth2/v1/tokens/bearer"
    answer = desk.http.post(url, data={"grant_type": "refresh_token"}, auth=("x", "y"))
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert token(desk, 400, grant_type="password") == {"error": "invalid_request"}
    assert desk.http.get(url).status_code == 405


@pytest.mark.parametrize("form", [True, False])
def test_revoke_takes_json_and_form(company: Company, desk: Desk, form: bool) -> None:
    pair = connected(desk)
    url = f"{desk.urls.quickbooks}/v2/oauth2/tokens/revoke"
    body: dict[str, Any] = {"data" if form else "json": {"token": pair["refresh_token"]}}
    done = desk.http.post(url, auth=QUICKBOOKS_APP, **body)
    assert (done.status_code, done.content) == (200, b"")
    assert works(company, pair["access_token"]) == 401
    refresh(desk, pair["refresh_token"], 400)
    assert desk.http.post(url, auth=QUICKBOOKS_APP, **body).status_code == 400


def test_the_user_can_disconnect_at_intuit(company: Company) -> None:
    assert works(company, company.quickbooks_token) == 200
    company.act("DELETE", "/tokens/quickbooks")
    assert works(company, company.quickbooks_token) == 401


def test_gateway_401_has_lower_case_keys(company: Company, desk: Desk) -> None:
    desk.turn(clock_offset=3601)
    answer = company.quickbooks("GET", "/preferences")
    error = answer.json()["fault"]["error"][0]
    assert (answer.status_code, error["code"]) == (401, "3200")
    assert error["detail"].startswith("Token expired: ")
    assert isinstance(answer.json()["time"], int)
    malformed = company.quickbooks("GET", "/preferences", headers={"Authorization": "Bearer short"})
    assert malformed.json()["fault"]["error"][0]["detail"] == "Malformed bearer token: too short or too long"


def test_other_company_is_an_xml_fault(company: Company, desk: Desk) -> None:
    other = desk.company(seed="other")
    url = f"{desk.urls.quickbooks}/v3/company/{other.realm}/preferences"
    headers = {"Authorization": f"Bearer {company.quickbooks_token}", "Accept": "application/json"}
    answer = desk.http.get(url, headers=headers)
    assert answer.status_code == 401
    assert '<Fault type="AuthenticationFault"><Error code="100">' in answer.text


@pytest.mark.parametrize(
    "shape, mark", [("xml", '<Fault type="SERVICE">'), ("Fault", '{"Fault":'), ("fault", '"fault":{"error"')]
)
def test_ten_calls_a_second_then_429(company: Company, desk: Desk, shape: str, mark: str) -> None:
    desk.turn(limits=True, throttle_shape=shape, retry_after=True)
    answers = [company.quickbooks("GET", "/preferences")]
    while answers[-1].status_code == 200 and len(answers) < 400:
        answers.append(company.quickbooks("GET", "/preferences"))
    *passed, throttled = answers
    assert len(passed) >= 10
    assert throttled.status_code == 429
    assert mark in throttled.text
    assert int(throttled.headers["retry-after"]) >= 1


def test_races_and_revocations_are_counted(company: Company, desk: Desk) -> None:
    def counted() -> tuple[int, int, int]:
        told = desk.call("GET", f"/traffic/{company.realm}")
        return told["refreshes"], told["stale_refreshes"], told["revocations"]

    desk.turn(rotate_after=0)
    first = connected(desk)["refresh_token"]
    second = refresh(desk, first)["refresh_token"]
    assert counted() == (1, 0, 0)
    refresh(desk, first)
    assert counted() == (2, 1, 0)
    desk.turn(old_token="reuse_revokes_family")
    refresh(desk, second, 400)
    assert counted() == (2, 2, 1)
    pair = connected(desk)
    url = f"{desk.urls.quickbooks}/v2/oauth2/tokens/revoke"
    assert desk.http.post(url, auth=QUICKBOOKS_APP, json={"token": pair["access_token"]}).status_code == 200
    assert counted() == (2, 2, 2)
    refresh(desk, pair["refresh_token"], 400)
    assert desk.http.post(url, auth=("x", "y"), json={"token": pair["access_token"]}).status_code == 401
    assert counted() == (2, 2, 2)


def test_the_window_stops_growing_near_the_hard_end(company: Company, desk: Desk) -> None:
    del company
    desk.turn(hard_expiry=300 * DAY)
    value, windows = connected(desk)["refresh_token"], []
    for day in (90, 180, 250, 299):
        desk.turn(clock_offset=day * DAY)
        pair = refresh(desk, value)
        assert "x_refresh_token_hard_expires_in" not in pair
        value = pair["refresh_token"]
        windows.append(round(int(pair["x_refresh_token_expires_in"]) / DAY))
    assert windows == [100, 100, 50, 1]


@pytest.mark.parametrize("state", ["lapsed", "no-rights", "app-refused", "locked", "wrong-realm"])
def test_tokens_are_refreshed_though_the_company_is_closed(company: Company, desk: Desk, state: str) -> None:
    pair = connected(desk)
    company.act("PUT", "/quickbooks/access", json={"state": state})
    fresh = refresh(desk, pair["refresh_token"])
    assert works(company, fresh["access_token"]) in (401, 403)


def test_batches_have_a_limit_of_their_own(company: Company, desk: Desk) -> None:
    def batch() -> bool:
        return company.quickbooks("POST", "/batch", json={"BatchItemRequest": []}).status_code == 200

    def read() -> bool:
        return company.quickbooks("GET", "/preferences").status_code == 200

    desk.turn(limits=True)
    for _ in range(40):
        until(batch)
    # The second's ten calls have room again, the minute's forty batches have not.
    until(read)
    assert not batch()
    until(read)
