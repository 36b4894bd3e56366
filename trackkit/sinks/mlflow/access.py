"""How an MLflow server is reached: its address, and who we are to it, as MLflow's own client finds that out."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

ADDRESS: Final = "MLFLOW_TRACKING_URI"
"""The environment variable that names the server where the sink is just called `mlflow`."""
_STORES: Final = ("sqlite", "postgresql", "mysql", "mssql", "file", "databricks")


class Access(msgspec.Struct, frozen=True):
    """An address and what it takes to be let in.

    Attributes
    ----------
    address
        `http(s)://host[:port][/path]`, without a slash at the end.
    username, password
        For basic authentication; empty if there is none.
    token
        Sent as a bearer token where there is no user.
    verify
        Whether the server's certificate is checked, or the file of the authorities it may be from.
    certificate
        The file of the client's own certificate and key; empty if there is none.
    """

    address: str
    username: str = ""
    password: str = ""
    token: str = ""
    verify: bool | str = True
    certificate: str = ""

    @classmethod
    def of(cls, uri: str) -> Access:
        """What a sink's URI and MLflow's environment variables say.

        Raises
        ------
        ValueError
            If that is no address of an MLflow server, or the variables contradict each other.
        """
        username, password = _user()
        insecure = _is_true(os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", ""))
        authorities = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
        if insecure and authorities:
            raise ValueError(
                "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set; unset one of them"
            )
        return cls(
            address_of(uri),
            username,
            password,
            os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
            (authorities or os.environ.get("REQUESTS_CA_BUNDLE") or True) if not insecure else False,
            os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH", ""),
        )


def address_of(uri: str) -> str:
    """The server's address that a sink's URI means.

    Raises
    ------
    ValueError
        If it means none.

    Examples
    --------
    >>> address_of("mlflow+https://mlflow.example.org/tracking/")
    'https://mlflow.example.org/tracking'
    """
    plain = uri.partition(":")[0].lower() == "mlflow"
    address = os.environ.get(ADDRESS, "").strip() if plain else uri
    if plain and not address:
        raise ValueError(f"sink={uri!r} goes to the server that {ADDRESS} names, and it is not set")
    address = address[7:] if address.lower().startswith("mlflow+") else address
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname:
        if parts.username is not None:
            raise ValueError(
                f"the address of an MLflow server must not hold a user and password, which would be written down with "
                f"the journal; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and name the sink "
                f"mlflow+{parts.scheme}://{parts.hostname}"
            )
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(f"{uri!r} is no address of an MLflow server: its port is no number") from None
        return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    where = f"{ADDRESS}={address!r}" if plain else repr(uri)
    if parts.scheme.partition("+")[0] in _STORES or not parts.scheme:
        raise ValueError(
            f"{where} is a store's own place, and trackkit speaks to MLflow over REST alone; start a server on it "
            f"(`mlflow server --backend-store-uri {address}`) and name the sink mlflow+http://HOST:PORT"
        )
    raise ValueError(f"{where} is no address of an MLflow server: expected mlflow+http(s)://HOST[:PORT][/PATH]")


def _user() -> tuple[str, str]:
    """The user's name and password: from the environment, or from the file that MLflow keeps them in."""
    username = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if username or password:
        return username, password
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path.home() / ".mlflow" / "credentials")
        section = parser["mlflow"]
        return section.get("mlflow_tracking_username", ""), section.get("mlflow_tracking_password", "")
    except (OSError, KeyError, RuntimeError, configparser.Error, UnicodeDecodeError):
        return "", ""


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1")
