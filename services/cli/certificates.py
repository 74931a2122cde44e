"""`weir certificates`: a certificate for your broker, and the authority that every service knows it by."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cyclopts import Parameter

from common.errors import UserError
from services.cli.terminal import say

CA_YEARS = 10
DAYS = 397
"""Days a broker's certificate is good for; run the command again before."""
_BACKDATED = timedelta(hours=1)  # clocks of other hosts may be behind


def certificates(
    directory: Path,
    *,
    name: Annotated[list[str], Parameter(help="Name or address that services reach the broker by; may be repeated.")],
    days: Annotated[int, Parameter(help="Days until the broker's certificate has to be renewed.")] = DAYS,
) -> None:
    """Write ca.crt, tls.crt and tls.key into DIRECTORY, and ca.key, which stays with you.

    Run again, it renews the broker's certificate and keeps the authority. With an authority of your own this command
    is not needed: a certificate of yours for the same names serves as well.
    """
    if not 1 <= days <= CA_YEARS * 365:
        raise UserError(f"--days {days}: is not between 1 and {CA_YEARS * 365}")
    directory.mkdir(parents=True, exist_ok=True)
    ca, ca_key = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _broker(name, key.public_key(), ca, ca_key, days)
    _write(directory / "tls.key", _pem(key), 0o600)
    _write(directory / "tls.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    say(f"{directory}: a certificate for {', '.join(name)}, good until {certificate.not_valid_after_utc:%Y-%m-%d}")


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    cert_file, key_file = directory / "ca.crt", directory / "ca.key"
    if cert_file.exists() != key_file.exists():
        missing = key_file if cert_file.exists() else cert_file
        raise UserError(f"{missing} is missing beside its other half; put it back, or remove both for a new authority")
    if cert_file.exists():
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            kept = x509.load_pem_x509_certificate(cert_file.read_bytes())
        except (TypeError, ValueError) as error:
            raise UserError(f"{directory}: ca.crt or ca.key cannot be read ({error})") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != kept.public_key():
            raise UserError(f"{key_file} is not the key of {cert_file.name}")
        return kept, key
    made_key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("Weir broker authority")
    made = (
        _begun(subject, subject, made_key.public_key(), timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(made_key, hashes.SHA256())
    )
    _write(key_file, _pem(made_key), 0o600)
    _write(cert_file, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return made, made_key


def _broker(
    names: list[str],
    key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    until = min(timedelta(days=days), ca.not_valid_after_utc - datetime.now(UTC))
    if until <= timedelta(0):
        raise UserError(
            "ca.crt has expired; remove ca.crt and ca.key for a new authority, and give it to every service"
        )
    # Brokers of a cluster are one another's clients as well.
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _begun(_subject("Weir broker"), ca.subject, key, until)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + until)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise UserError(f"--name {name!r}: write a host name in ASCII (xn--… for others), or an address") from None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a broker that reloads meanwhile sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)
