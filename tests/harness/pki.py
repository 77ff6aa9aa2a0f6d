"""An issuer made for a test, what it issues, and the TLS contexts of clients and servers."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in files."""

    cert: Path
    key: Path

    @property
    def pair(self) -> dict[str, str]:
        """As the configuration wants it."""
        return {"cert": str(self.cert), "key": str(self.key)}


class Authority:
    """Issues certificates; its own is the bundle."""

    def __init__(self, folder: Path, name: str = "issuer") -> None:
        """Make the issuer's key and certificate."""
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        built = (
            _builder(subject, subject, self.key.public_key(), days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.bundle = folder / f"{name}.pem"
        self.bundle.write_bytes(built.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, days: int = 30, stem: str | None = None) -> Issued:
        """A certificate for DNS names, IP addresses and URIs; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        built = (
            _builder(_subject(names[0]), _subject(self.name), key.public_key(), days=days)
            .add_extension(alternatives, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        stem = stem or names[0].replace("*", "_").replace("/", "_")
        issued = Issued(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        issued.cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued

    def client(self, own: Issued | None = None) -> ssl.SSLContext:
        """A client that trusts this issuer alone."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        if own is not None:
            context.load_cert_chain(own.cert, own.key)
        return context

    def server(self, own: Issued, *, clients: bool = False) -> ssl.SSLContext:
        """A server; with `clients` it wants certificates of this issuer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.cert, own.key)
        if clients:
            context.load_verify_locations(self.bundle)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    end = NOW + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(NOW, end) - dt.timedelta(days=60))
        .not_valid_after(end)
    )
