"""The entities of billing: the kinds of objects whose changes are published."""

from collections.abc import Mapping
from typing import Any

from tertulia.billing.schemas import QuotaNoticeRead, QuotaRead
from tertulia.realtime.entities import Entity

QUOTA = Entity("quota", QuotaRead)
QUOTA_NOTICE = Entity("quota_notice", QuotaNoticeRead)
# What a person may use has changed: the plan, or the subscription behind it.
PLAN: Entity[Mapping[str, Any]] = Entity("plan")
ENTITIES = (QUOTA, QUOTA_NOTICE, PLAN)
