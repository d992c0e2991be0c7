"""Define errors of instance commands."""

from tertulia.errors import SettingsError


class AdvisoriesUnavailable(SettingsError):
    """Advisories cannot be read. The message says why."""
