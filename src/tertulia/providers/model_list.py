"""Describe the models that people choose from: their names, order, windows and what they can do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tertulia.providers.abilities import abilities_of, settings_ignored
from tertulia.providers.configs import (
    split_key,
)
from tertulia.providers.models import ListedModel
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.registry import KnownModel
from tertulia.providers.schemas import ModelRead, Source
from tertulia.providers.vendors import Vendor

REFRESH_AFTER_S = 300
RETRY_AFTER_S = 15
# How long listing models waits for a newly added provider.
FIRST_READ_S = 5.0
NAMES_KEPT = 10_000


@dataclass(frozen=True)
class Offer:
    """A provider with the models shown for it."""

    key: str
    vendor: Vendor
    source: Source
    models: Sequence[ListedModel]
    is_read: bool
    account: str  # of the key that it is asked with
    ignoring: str | None = None  # the vendor whose rules say what is never sent, if it is another


def printable(models: Iterable[ListedModel]) -> list[ListedModel]:
    """Return the models whose names can be shown, stored and sent."""
    return [model for model in models if model.model_name.isprintable()]


def in_order(vendor: Vendor, names: Iterable[str]) -> tuple[str, ...]:
    """Order names as the vendor lists them, but put the recommended model first."""
    listed = tuple(names)
    for wanted in vendor.models:
        best = next((name for name in listed if name == wanted), None) or next(
            (name for name in sorted(listed, key=len) if name.startswith(wanted)), None
        )
        if best is not None:
            return (best, *(name for name in listed if name != best))
    return listed


def window_of(
    vendor: Vendor, own_window: int | None, listed: ListedModel | None, described: KnownModel | None
) -> int | None:
    """Return the window that the person has set, else the server's, else the price list's.

    Ollama loads a model with the window that is asked for, so there no one can ask for more than its server tells.
    """
    of_server = listed.context_window if listed else None
    if own_window is not None and of_server is not None and vendor.wire == "ollama":
        return min(own_window, of_server)
    return own_window or of_server or (described.context_window if described else None)


def name_of(vendor: Vendor, key: str) -> str:
    """Return the name of a vendor, with that of its config if it has one: "Mistral (work)"."""
    name = split_key(key)[1]
    return f"{vendor.display_name} ({name})" if name else vendor.display_name


def shown_model(
    offer: Offer, listed: ListedModel, described: KnownModel | None, refused: RefusedParameters
) -> ModelRead:
    vendor_id, name = offer.vendor.id, listed.model_name
    capabilities = listed.capabilities or (described.capabilities if described else None)
    abilities = abilities_of(vendor_id, name)
    seen = refused.ignored_by(offer.account, name)
    return {
        "provider": offer.key,
        "provider_name": name_of(offer.vendor, offer.key),
        "model_name": listed.model_name,
        "display_name": listed.display_name or listed.model_name,
        "context_window": listed.context_window or (described.context_window if described else None),
        "max_output": described.max_output if described else None,
        "input_price": described.input_price if described else None,
        "output_price": described.output_price if described else None,
        "capabilities": {
            "vision": capabilities.vision if capabilities else None,
            "tools": capabilities.tools if capabilities else None,
            "reasoning": capabilities.reasoning if capabilities else bool(abilities.words) or None,
            "efforts": list(abilities.efforts),
            "verbosity": abilities.has_verbosity,
            "web_search": "no" if "web_search" in seen else abilities.web_search,
            "inputs": sorted(abilities.inputs),
            "pictures": "no" if "make_pictures" in seen else abilities.pictures,
        },
        "ignores": sorted(settings_ignored(offer.ignoring or vendor_id, name) | offer.vendor.dialect.refuses | seen),
        "source": offer.source,
        "available": True,
        "deprecated": bool(described and described.is_deprecated),
        "is_default": False,
        "is_favourite": False,
        "is_in_plan": True,
        "own_window": None,
        "state": None,
    }
