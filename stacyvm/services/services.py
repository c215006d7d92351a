"""All use cases of one server, in one hand."""

from dataclasses import dataclass

from stacyvm.config import Settings
from stacyvm.services.executions import Executions
from stacyvm.services.files import Files
from stacyvm.services.health import Health
from stacyvm.services.providers import Providers
from stacyvm.services.reaper import Reaper
from stacyvm.services.sandboxes import Sandboxes


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the API is made from."""

    settings: Settings
    sandboxes: Sandboxes
    executions: Executions
    files: Files
    providers: Providers
    health: Health
    reaper: Reaper
