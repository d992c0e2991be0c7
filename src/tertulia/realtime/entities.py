"""The kinds of objects whose changes are published, registered by the features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from tertulia.realtime.models import Operation

P = TypeVar("P", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Entity(Generic[P]):
    """Contribution of a feature: a kind of object, and the shape that its changes carry.

    `payload` None: changes carry nothing, and readers fetch the object. `is_shared`: people who may read the chat or draft
    that a change belongs to hear of it too, without its payload.
    """

    name: str
    payload: type[P] | None = None
    is_shared: bool = False


def build_change_adapter(entities: Iterable[Entity[Any]]) -> TypeAdapter[Any]:
    """Return the adapter of a change: one of a closed union, told apart by `entity`."""
    changes: Any = tuple(_change_type(entity) for entity in entities)
    change: Any = Annotated[Union[changes], Field(discriminator="entity")]  # noqa: UP007 - known at run time only
    return TypeAdapter(change)


def _change_type(entity: Entity[Any]) -> Any:
    payload = entity.payload | None if entity.payload is not None else None
    fields = {
        "topic": str,
        "entity": Literal[entity.name],
        "entity_id": str,
        "operation": Operation,
        "payload": payload,
    }
    name = "".join(word.title() for word in entity.name.split("_"))
    change: Any = TypedDict(f"{name}Change", fields)  # type: ignore[misc]
    change.__doc__ = "If `payload` is null, fetch the object."
    return change
