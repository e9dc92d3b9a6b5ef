"""A certificate of a test's own for 127.0.0.1, and what a `redis-server` needs to use it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Certificate", "certificate"]


@dataclass(frozen=True)
class Certificate:
    """A key and the certificate it signed for itself, which is its own authority."""

    key: Path
    file: Path

    def options(self, port: int) -> list[str]:
        """Configuration of a server that also listens with TLS, on `port`."""
        files = [f"tls-key-file {self.key}", f"tls-cert-file {self.file}", f"tls-ca-cert-file {self.file}"]
        return [f"tls-port {port}", "tls-auth-clients no", *files]


def certificate(directory: Path) -> Certificate:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(directory / "key.pem", directory / "certificate.pem")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain))
    made.file.write_bytes(signed.public_bytes(pem))
    return made
