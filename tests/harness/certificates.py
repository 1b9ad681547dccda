"""Certificates for a cluster that talks TLS: an authority and a key pair, made anew for each test session."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Certificates", "make_certificates"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files.

    Attributes:
        authority: The certificate of the authority that signed the other one.
        certificate: A certificate for loopback, for servers and clients alike.
        key: Its private key, which nobody else may read.
    """

    authority: str
    certificate: str
    key: str


def make_certificates(folder: Path) -> Certificates:
    """Make them in *folder*, valid for a day."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("airflow-joblib tests", authority_key, None, authority_key)
    certificate = _certificate("127.0.0.1", key, authority, authority_key)
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {
        "authority": authority.public_bytes(pem),
        "certificate": certificate.public_bytes(pem),
        "key": key.private_bytes(pem, *plain),
    }
    for name, data in files.items():
        (folder / f"{name}.pem").touch(mode=0o600)
        (folder / f"{name}.pem").write_bytes(data)
    return Certificates(**{name: str(folder / f"{name}.pem") for name in files})


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(loopback, critical=False)
        .sign(signer, hashes.SHA256())
    )
