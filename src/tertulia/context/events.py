"""The entity of compactions, whose changes are published."""

from tertulia.context.schemas import ContextOptimizationRead
from tertulia.realtime.entities import Entity

CONTEXT_OPTIMIZATION = Entity("context_optimization", ContextOptimizationRead, is_shared=True)
