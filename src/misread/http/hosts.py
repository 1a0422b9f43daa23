"""Names in Host headers, and tokens. A domain name can be made to lead to this machine by whoever owns it."""

from hmac import compare_digest
from ipaddress import ip_address


def host_name(header: str) -> str:
    """The name in a Host header, without the port and in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def is_number(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether a name can only mean this machine."""
    return name == "localhost" or (is_number(name) and ip_address(name).is_loopback)


def same_token(given: str, right: str) -> bool:
    """Whether a token is right, in a time that does not depend on how much of it is."""
    return compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())
