"""Certificates for the tests, made afresh for each session: a root, good leaves, and every kind of bad one."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
GOOD_NAMES = ["*.site.test", "localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"]

# Python from 3.13 on wants this of an authority, and of all to say who issued them (RFC 5280 4.2.1).
SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False)


def alt_name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def subject(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issued_by(key):
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


class Authority:
    """A root or intermediate that signs leaves."""

    def __init__(self, name, parent=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        self.certificate = (
            x509.CertificateBuilder().subject_name(subject(name))
            .issuer_name(parent.certificate.subject if parent else subject(name))
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY).not_valid_after(now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(issued_by(parent.key if parent else self.key), critical=False)
            .sign(parent.key if parent else self.key, hashes.SHA256()))

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, names, common_name="leaf", starts=-1, ends=30, usage=ExtendedKeyUsageOID.SERVER_AUTH,
             self_signed=False, key=None):
        """(certificate PEM, key PEM); `starts` and `ends` in days from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder().subject_name(subject(common_name))
            .issuer_name(subject(common_name) if self_signed else self.certificate.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + starts * DAY).not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(issued_by(key if self_signed else self.key), critical=False))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([alt_name(n) for n in names]), critical=False)
        certificate = builder.sign(key if self_signed else self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Certificates:
    """All of them as files in `directory`: path("expired") is (certificate, key); `root` is the trusted one."""

    def __init__(self, directory):
        self.directory = directory
        root, stranger = Authority("hotfleet test root"), Authority("unknown root")
        intermediate = Authority("hotfleet test intermediate", root)
        chained, chained_key = intermediate.leaf(GOOD_NAMES)
        self.root = self.write("root.pem", root.pem())
        self.stranger = self.write("stranger.pem", stranger.pem())
        leaves = {
            "good": root.leaf(GOOD_NAMES),
            "good-rsa": root.leaf(GOOD_NAMES, key=rsa.generate_private_key(65537, 2048)),
            "good-by-intermediate": (chained + intermediate.pem(), chained_key),
            "expired": root.leaf(GOOD_NAMES, starts=-10, ends=-1),
            "not-yet-valid": root.leaf(GOOD_NAMES, starts=5, ends=10),
            "wrong-name": root.leaf(["elsewhere.example", "192.0.2.1"]),
            "no-names": root.leaf([], common_name="127.0.0.1"),
            "self-signed": root.leaf(GOOD_NAMES, self_signed=True),
            "unknown-issuer": stranger.leaf(GOOD_NAMES),
            "incomplete-chain": (chained, chained_key),
            "client-only": root.leaf(GOOD_NAMES, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        }
        for name, (certificate, key) in leaves.items():
            self.write(name + ".pem", certificate)
            self.write(name + ".key", key)

    def write(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        return path

    def path(self, name):
        return os.path.join(self.directory, name + ".pem"), os.path.join(self.directory, name + ".key")
