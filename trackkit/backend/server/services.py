"""What handlers work with: one of each a server process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackkit.backend.server.config import ServerConfig
from trackkit.backend.server.storage import Storage

if TYPE_CHECKING:
    from trackkit.backend.server.auth import Authenticator
    from trackkit.backend.server.live import Feed
    from trackkit.backend.server.overview import Overviews
    from trackkit.backend.server.presence import Presence
    from trackkit.backend.server.telemetry import Telemetry
    from trackkit.backend.tables.opened import OpenTables


@dataclass(slots=True, frozen=True)
class Services:
    """The parts of a server."""

    config: ServerConfig
    storage: Storage
    authenticator: Authenticator
    feed: Feed
    presence: Presence
    telemetry: Telemetry
    tables: OpenTables
    overviews: Overviews
