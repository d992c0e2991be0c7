"""Every table of the product, so that migrations and tests see the whole schema."""

import tertulia.accounts.models
import tertulia.billing.models
import tertulia.chat.models
import tertulia.chat.search_index
import tertulia.chat.search_passages
import tertulia.drafts.models
import tertulia.files.models
import tertulia.jobs.models
import tertulia.providers.models
import tertulia.realtime.models
import tertulia.runs.models
import tertulia.tools.models
import tertulia.tools.servers.models  # noqa: F401
from tertulia.db import Base

metadata = Base.metadata
