"""What the adapters of all vendors have in common."""

from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.wire import Wire


class VendorAdapter:
    """An adapter with one wire. `refused` is what was learned about models before."""

    continues_prefix = False

    def __init__(self, wire: Wire, refused: RefusedParameters | None = None) -> None:
        self.name = wire.name
        self.origin = wire.origin
        self.account = wire.account
        self._wire = wire
        self._refused = refused or RefusedParameters()
