"""The longest replies of models in tokens, as their vendors publish them. What a limit of ours says comes on top."""

import re

# By a part of the name, as gateways write the maker before it. The first match decides.
_LONGEST = (
    (r"claude-(2|3-(opus|sonnet|haiku))", 4096),
    (r"claude-3-5", 8192),
    (r"claude-opus-4(-[01](-|$)|-\d{8}|$)", 32_000),
    (r"claude-(3-7|sonnet-4|haiku-4|opus-4-5)", 64_000),
    (r"claude-", 128_000),
    (r"gpt-(3\.5|4-(turbo|1106|0125|vision))", 4096),
    (r"gpt-4o", 16_384),
    (r"gpt-4\.1", 32_768),
    (r"gpt-5", 128_000),
    (r"(^|/)o[134](-|$)", 100_000),
    (r"gemini-(1|2\.0)", 8192),
    (r"gemini-(2\.5|3)", 65_536),
)


def longest_reply(model_name: str) -> int | None:
    """Return the longest reply of a model in tokens, with its thoughts. None: its vendor does not say it."""
    return next((most for name, most in _LONGEST if re.search(name, model_name)), None)
