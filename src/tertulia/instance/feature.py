"""What the administrator's view of the instance contributes to the app."""

from tertulia.features import Feature
from tertulia.instance import routes
from tertulia.instance.largest_users import count_users, is_count_due, store_largest_users
from tertulia.jobs.service import Job, Jobs

COUNT_EVERY_S = 300


def feature() -> Feature:
    count = Job("count-users", COUNT_EVERY_S, store_largest_users, is_due=is_count_due, measure=count_users)
    return Feature("instance", (routes.routes, Jobs(lambda _: [count])))
