"""Certificates for tests of TLS."""

import pathlib
import shutil
import subprocess

import pytest


def make_certificate(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Files (PEM) of a private key and of a certificate for localhost that it has signed itself."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = folder / f"{name}-key.pem", folder / f"{name}.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-out", certificate]
    options += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key]
    subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True)
    return key, certificate
