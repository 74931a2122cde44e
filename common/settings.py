"""Settings, read once from the environment with the prefix `WEIR_`, or from files named like the variables.

`weir settings` prints this table. A wrong value ends the process with one line naming the variable and the
fix; a secret is shown only as set or not set.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common import subjects
from common.errors import UserError

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Before anything there is in QuickBooks Online, which is younger."""
READS_WARN_AT = (0.8, 0.9, 1.0)
"""Shares of `quickbooks_monthly_reads` from which on people are warned."""


def loopback(url: str) -> bool:
    """Whether the URL's host can only be this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not an http(s) URL")
    if parts.scheme == "http" and not loopback(value):
        raise ValueError("must be https: plain http is for loopback only")
    return value.rstrip("/")


def _nats_url(value: str) -> str:
    for url in value.split(","):
        parts = urlsplit(url.strip())
        try:
            bad_port = parts.port is not None and not 0 < parts.port < 65536
        except ValueError:
            bad_port = True
        if parts.scheme not in {"nats", "tls", "ws", "wss"} or not parts.hostname or bad_port:
            raise ValueError("is not a broker URL; write nats://host:4222 or tls://host:4222")
    return value


def _networks(value: str) -> str:
    for one in value.split(","):
        try:
            ipaddress.ip_network(one.strip())
        except ValueError:
            raise ValueError(f"{one.strip()!r} is no address or network; write 10.0.0.5 or 10.0.0.0/24") from None
    return value


def without_userinfo(urls: str) -> str:
    """The URL(s) without name and password, fit to be shown."""
    return re.sub(r"//[^/@,]*@", "//", urls)


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseSettings):
    """All settings of all services; each service reads the ones it needs."""

    model_config = SettingsConfigDict(env_prefix="WEIR_", frozen=True, extra="ignore")

    nats_url: Annotated[str, AfterValidator(_nats_url)] | None = Field(
        None, description="Broker URL(s), comma separated. Unset: `weir up` and `weir demo` start their own."
    )
    nats_token: SecretStr | None = Field(None, description="Token for a broker on one machine; it may do everything.")
    nats_seed: SecretStr | None = Field(
        None, description="Key (nkey seed) of this service for the broker; `weir broker-config` makes one for each."
    )
    nats_seed_file: Path | None = Field(None, description="File with that key, instead of WEIR_NATS_SEED.")
    nats_ca: Path | None = Field(
        None, description="File with the CA of the broker's certificate (PEM). Unset: those the system trusts."
    )
    region: Annotated[str, AfterValidator(subjects.region)] = Field(
        "eu", description="Region of this instance: first token of every subject."
    )
    replicas: int = Field(1, ge=1, le=5, description="Replicas of every stream and bucket (3 on a cluster).")
    placement_tags: str = Field("", description="Comma-separated server tags that streams are placed by.")
    data_dir: Path = Field(Path(".weir"), description="Where the embedded broker and the sandbox keep data.")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level logged.")
    secrets_dir: Path | None = Field(
        None, description="Directory with a file for each secret, named like its variable; a set variable goes first."
    )

    ops_host: str = Field("127.0.0.1", description="Address that /livez, /readyz and /metrics listen on.")
    ops_port: int = Field(
        0, ge=0, le=65535, description="Port of /livez, /readyz and /metrics; 0: none. `weir up` counts up from it."
    )
    otlp_url: HttpUrl | None = Field(
        None, description="OTLP/HTTP collector for traces, without /v1/traces; OTEL_EXPORTER_OTLP_ENDPOINT works too."
    )

    master_key: SecretStr | None = Field(
        None, description="32 bytes in base64 that seal the provider tokens. `weir setup --new-key` makes one."
    )
    master_key_file: Path | None = Field(
        None, description="Instead: a file with one key per line, the one that seals first."
    )
    master_key_command: str | None = Field(
        None, description="Instead: a command, run without a shell, that prints keys one per line (a KMS, a vault)."
    )
    master_key_previous: SecretStr | None = Field(
        None, description="Comma-separated keys that only open, while one is being replaced."
    )

    quickbooks_api_url: HttpUrl = Field(
        "https://quickbooks.api.intuit.com", description="QuickBooks data API without /v3."
    )
    quickbooks_authorize_url: HttpUrl = Field(
        "https://appcenter.intuit.com/connect/oauth2", description="Where a person approves access."
    )
    quickbooks_token_url: HttpUrl = Field(
        "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer", description="Token endpoint of Intuit."
    )
    quickbooks_revoke_url: HttpUrl = Field(
        "https://developer.api.intuit.com/v2/oauth2/tokens/revoke", description="Revocation endpoint of Intuit."
    )
    quickbooks_client_id: str | None = Field(None, description="Client id of your Intuit app.")
    quickbooks_client_secret: SecretStr | None = Field(None, description="Client secret of your Intuit app.")

    quickbooks_webhook_verifier: SecretStr | None = Field(
        None, description="Verifier token of your Intuit app's webhooks. Unset: webhooks are refused."
    )
    quickbooks_monthly_reads: int = Field(
        500_000, ge=1, description="Metered reads a month your Intuit plan includes; warned of at 80 %."
    )

    qonto_api_url: HttpUrl = Field("https://thirdparty.qonto.com", description="Qonto API without /v2.")
    qonto_oauth_url: HttpUrl = Field("https://oauth.qonto.com", description="Qonto's OAuth host.")
    qonto_client_id: str | None = Field(None, description="Client id of your Qonto app.")
    qonto_client_secret: SecretStr | None = Field(None, description="Client secret of your Qonto app.")
    qonto_staging_token: SecretStr | None = Field(None, description="X-Qonto-Staging-Token, Qonto sandbox only.")

    pull_every: int = Field(3600, ge=60, description="Seconds between two scheduled pulls of a workspace.")
    pull_overlap: int = Field(600, ge=0, description="Seconds a window reaches back behind its marker.")
    backfill_from: date = Field(
        EARLIEST.date(), ge=EARLIEST.date(), description="Date the first pull starts at, 2000-01-01 or later."
    )

    scorer_entries: int = Field(
        500_000, ge=1, description="Entries and bills a scorer holds in memory in all, some kB each."
    )

    console_host: str = Field("127.0.0.1", description="Address the console listens on.")
    console_port: int = Field(8460, ge=0, le=65535, description="Port of the console (0: any free one).")
    console_url: HttpUrl | None = Field(
        None, description="How browsers reach the console; default http://host:port. Registered as redirect URI."
    )
    console_behind_proxy: bool = Field(
        False, description="A proxy with TLS stands in front: the console may listen on other than loopback."
    )
    console_proxies: Annotated[str, AfterValidator(_networks)] | None = Field(
        None, description="Comma-separated addresses or networks of your proxies, whose X-Forwarded-For is believed."
    )
    console_oidc_issuer: HttpUrl | None = Field(
        None, description="Issuer URL of your OpenID Connect provider. Unset: people sign in by one-time links."
    )
    console_oidc_client_id: str | None = Field(None, description="Client id of the console at that provider.")
    console_oidc_client_secret: SecretStr | None = Field(
        None, description="Client secret of the console at that provider; its redirect URI is /signin/callback."
    )

    sandbox_quickbooks_port: int = Field(8461, ge=0, le=65535, description="Port of the QuickBooks stand-in.")
    sandbox_qonto_port: int = Field(8462, ge=0, le=65535, description="Port of the Qonto stand-in.")
    sandbox_dir: Path | None = Field(None, description="Where the sandbox keeps its state; default data_dir/sandbox.")

    @property
    def keyed(self) -> bool:
        """Whether this process joins the broker with a key, and so may do no more than it needs."""
        return self.nats_seed is not None or self.nats_seed_file is not None

    def broker_url(self) -> str:
        """The broker's URL; UserError if unset (only `up` and `demo` start their own)."""
        if self.nats_url is None:
            raise UserError(
                "WEIR_NATS_URL is not set; name your broker (nats://host:4222), "
                "or start all on one machine with `weir up`"
            )
        return self.nats_url

    def required(self, name: str) -> str:
        """A setting that has no default, as text; UserError naming the variable if it is unset."""
        value = getattr(self, name)
        if value is None:
            raise UserError(f"WEIR_{name.upper()} is not set; {type(self).model_fields[name].description}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


_NOT_SETTINGS = frozenset({"WEIR_TETHERED"})
"""Variables of ours that tell a child process something and are nobody's to set."""


def load(**overrides: Any) -> Settings:
    """Settings from the environment and WEIR_SECRETS_DIR; UserError with one line per wrong or unknown name."""
    known = {f"WEIR_{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    _known(os.environ, known)
    try:
        return Settings(**{"_secrets_dir": _secrets(known), **overrides})
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors(include_url=False, include_context=False)]
        raise UserError("; ".join(lines)) from None


def _secrets(known: set[str]) -> Path | None:
    """The directory of secrets, if one is named; UserError if it cannot be read or a file in it is no setting."""
    named = os.environ.get("WEIR_SECRETS_DIR")
    if not named:
        return None
    directory = Path(named)
    try:
        _known((path.name.upper() for path in directory.iterdir()), known)
    except OSError as error:
        raise UserError(f"WEIR_SECRETS_DIR {named}: {error.strerror or error}") from None
    return directory


def _known(names: Iterable[str], known: set[str]) -> None:
    for name in sorted(names):
        if name.startswith("WEIR_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UserError(
                f"{name} is no setting{f'; did you mean {near[0]}?' if near else ''} `weir settings` lists all"
            )


def _explain(problem: dict[str, Any]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    field = Settings.model_fields.get(name)
    secret = field is not None and "SecretStr" in str(field.annotation)
    got = "" if secret else f" {without_userinfo(repr(problem.get('input'))):.60}"
    why = str(problem["msg"]).removeprefix("Value error, ")
    return f"WEIR_{name.upper()}{got}: {why}"
