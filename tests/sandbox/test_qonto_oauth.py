"""Qonto's OAuth host: consent, PKCE, rotation with its minute of grace, revocation, the staging gate."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.sandbox.desk import CALLBACK, QONTO_APP, Company, Desk, Process

SCOPE = "offline_access organization.read supplier_invoice.read supplier_invoice.write attachment.read"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def consent(desk: Desk, **more: str) -> dict[str, str]:
    params = {
        "client_id": QONTO_APP["client_id"],
        "response_type": "code",
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "state": "eight-characters",
        **more,
    }
    response = desk.http.get(f"{desk.urls.qonto}/oauth2/auth", params=params)
    assert response.status_code == 302, response.text
    query = parse_qs(urlsplit(response.headers["location"]).query)
    return {key: values[0] for key, values in query.items()}


def token(desk: Desk, **form: str) -> httpx.Response:
    return desk.http.post(f"{desk.urls.qonto}/oauth2/token", data={**QONTO_APP, **form})


def redeem(desk: Desk, code: str, **more: str) -> httpx.Response:
    return token(desk, grant_type="authorization_code", code=code, redirect_uri=CALLBACK, **more)


def refresh(desk: Desk, value: str) -> httpx.Response:
    return token(desk, grant_type="refresh_token", refresh_token=value)


def works(desk: Desk, access: str) -> int:
    headers = {"Authorization": f"Bearer {access}"}
    return desk.http.get(f"{desk.urls.qonto}/v2/organization", headers=headers).status_code


def test_walk_with_pkce(company: Company, desk: Desk) -> None:
    back = consent(desk, code_challenge=CHALLENGE, code_challenge_method="S256")
    assert back["code"].startswith("ory_ac_")
    assert (back["scope"], back["state"]) == (SCOPE, "eight-characters")
    wrong = redeem(desk, back["code"], code_verifier="w" * 64)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    pair = redeem(desk, back["code"], code_verifier=VERIFIER).json()
    assert (pair["expires_in"], pair["token_type"], pair["scope"]) == (3600, "bearer", SCOPE)
    assert works(desk, pair["access_token"]) == 200
    assert redeem(desk, back["code"], code_verifier=VERIFIER).status_code == 400
    assert company.qonto("GET", "/v2/organization").json()["organization"]["id"] == company.organization


def test_the_organization_can_be_named(company: Company, desk: Desk) -> None:
    desk.company(seed="newer")
    pair = redeem(desk, consent(desk, organization_id=company.organization)["code"]).json()
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    found = desk.http.get(f"{desk.urls.qonto}/v2/organization", headers=headers).json()
    assert found["organization"]["id"] == company.organization


@pytest.mark.parametrize(
    "change, error",
    [
        ({"state": "short"}, "invalid_state"),
        ({"scope": "supplier_invoices.read"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_refused_requests_go_back_with_the_reason(
    company: Company, desk: Desk, change: dict[str, str], error: str
) -> None:
    del company
    assert consent(desk, **change)["error"] == error


def test_no_refresh_token_without_offline_access(company: Company, desk: Desk) -> None:
    del company
    assert "refresh_token" not in redeem(desk, consent(desk, scope="organization.read")["code"]).json()


def test_each_refresh_rotates_with_a_minute_of_grace(company: Company, desk: Desk) -> None:
    del company
    first = redeem(desk, consent(desk)["code"]).json()["refresh_token"]
    second = refresh(desk, first).json()["refresh_token"]
    third = refresh(desk, first).json()["refresh_token"]
    assert len({first, second, third}) == 3
    desk.turn(clock_offset=61)
    dead = refresh(desk, first)
    assert (dead.status_code, dead.json()["error"]) == (400, "invalid_grant")
    assert refresh(desk, second).status_code == 200
    desk.turn(clock_offset=91 * 86_400)
    assert refresh(desk, third).status_code == 400


def test_credentials_belong_in_the_body(company: Company, desk: Desk) -> None:
    code = consent(desk)["code"]
    url = f"{desk.urls.qonto}/oauth2/token"
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    basic = desk.http.post(url, data=form, auth=(QONTO_APP["client_id"], QONTO_APP["client_secret"]))
    assert (basic.status_code, basic.json()["error"]) == (401, "invalid_client")
    del company


def test_revoke_and_consents(company: Company, desk: Desk) -> None:
    pair = redeem(desk, consent(desk)["code"]).json()
    other = redeem(desk, consent(desk)["code"]).json()
    url = f"{desk.urls.qonto}/oauth2/revoke"
    assert desk.http.post(url, data={**QONTO_APP, "token": pair["refresh_token"]}).status_code == 200
    assert works(desk, pair["access_token"]) == 401
    assert works(desk, other["access_token"]) == 200
    headers = {"Authorization": f"Bearer {other['access_token']}"}
    assert desk.http.delete(f"{desk.urls.qonto}/v2/oauth2/consents", headers=headers).status_code == 204
    assert works(desk, other["access_token"]) == 401
    assert refresh(desk, other["refresh_token"]).json()["error"] == "invalid_grant"
    del company


def test_api_key_and_scopes(company: Company, desk: Desk) -> None:
    key = {"Authorization": f"{company.made['slug']}:{company.made['secret_key']}"}
    assert company.qonto("GET", "/v2/supplier_invoices", headers=key).status_code == 200
    wrong: Any = company.qonto("GET", "/v2/supplier_invoices", headers={"Authorization": "x:y"})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (401, "unauthorized")
    assert wrong.json()["trace_id"] == wrong.headers["x-request-id"]
    narrow = company.act("POST", "/tokens", json={"side": "qonto", "scope": "organization.read"})
    headers = {"Authorization": f"Bearer {narrow['access_token']}"}
    refused = company.qonto("GET", "/v2/supplier_invoices", headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (403, "missing required oauth scope")
    del desk


def test_staging_gate_answers_html(tmp_path: Path) -> None:
    process = Process(tmp_path, WEIR_QONTO_STAGING_TOKEN="let-me-in")
    try:
        desk = Desk(process.urls)
        company = desk.company(bills=5)
        refused = company.qonto("GET", "/v2/organization")
        assert (refused.status_code, refused.headers["content-type"].startswith("text/html")) == (403, True)
        assert token(desk, grant_type="refresh_token").headers["content-type"].startswith("text/html")
        let_in = company.qonto("GET", "/v2/organization", headers={"X-Qonto-Staging-Token": "let-me-in"})
        assert let_in.status_code == 200
        assert "code" in consent(desk)
    finally:
        assert process.stop() == 0
