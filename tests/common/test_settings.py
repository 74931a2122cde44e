"""Secrets come from files as well as from the environment."""

from pathlib import Path

import pytest

from common.errors import UserError
from common.settings import load


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of secrets, as Docker and Kubernetes mount one."""
    monkeypatch.setenv("WEIR_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_file_is_read_like_its_variable(directory: Path) -> None:
    (directory / "WEIR_QONTO_CLIENT_SECRET").write_text("fictional-secret\n")
    (directory / "weir_quickbooks_client_id").write_text("fictional-id")
    settings = load()
    assert settings.required("qonto_client_secret") == "fictional-secret"
    assert settings.required("quickbooks_client_id") == "fictional-id"


def test_a_variable_goes_before_its_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "WEIR_QONTO_CLIENT_SECRET").write_text("of-the-file")
    monkeypatch.setenv("WEIR_QONTO_CLIENT_SECRET", "of-the-variable")
    assert load().required("qonto_client_secret") == "of-the-variable"


def test_what_kubernetes_puts_beside_is_no_secret(directory: Path) -> None:
    (directory / "..data").mkdir()
    assert load().qonto_client_secret is None


def test_a_misspelled_file_is_named(directory: Path) -> None:
    (directory / "WEIR_QONTO_CLIENT_SECRETS").write_text("fictional-secret")
    with pytest.raises(UserError, match="did you mean WEIR_QONTO_CLIENT_SECRET"):
        load()


def test_a_missing_directory_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_SECRETS_DIR", str(directory / "nowhere"))
    with pytest.raises(UserError, match=r"WEIR_SECRETS_DIR .*nowhere"):
        load()


def test_a_wrong_value_in_a_file_is_explained_without_it(directory: Path) -> None:
    (directory / "WEIR_CONSOLE_OIDC_ISSUER").write_text("no address")
    with pytest.raises(UserError, match=r"WEIR_CONSOLE_OIDC_ISSUER .*is not an http"):
        load()
