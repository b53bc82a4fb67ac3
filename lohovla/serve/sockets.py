"""Where a server listens, and with which certificate."""

from __future__ import annotations

import ipaddress
import socket
import ssl

from lohovla.errors import UserError


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one. Where a name has several addresses, IPv4 comes first.

    Raises:
        UserError: the place is taken or cannot be.
    """
    try:
        families = {entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "choose another place with host=... and port=...",
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def certificate(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """The TLS of two PEM files (one, where the certificate's file has the key too); None without any.

    Raises:
        UserError: they cannot be read, or do not belong together.
    """
    if cert is None and key is None:
        return None
    if cert is None:
        raise UserError("tls.key is given without tls.cert", "give both files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"cannot read the TLS certificate: {error}", "tls.cert and tls.key are PEM files") from None
    return context
