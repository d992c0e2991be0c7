"""The entities of tools: the kinds of objects whose changes are published."""

from tertulia.realtime.entities import Entity
from tertulia.tools.schemas import AutoApprovalRead, ToolExecutionRead
from tertulia.tools.servers.schemas import ToolServerRead

TOOL_EXECUTION = Entity("tool_execution", ToolExecutionRead, is_shared=True)
TOOL_SERVER = Entity("tool_server", ToolServerRead)
AUTO_APPROVAL_SETTING = Entity("auto_approval_setting", AutoApprovalRead)
ENTITIES = (
    TOOL_EXECUTION,
    TOOL_SERVER,
    AUTO_APPROVAL_SETTING,
)
