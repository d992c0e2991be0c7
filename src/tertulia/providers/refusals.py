"""Learn from refusals which parameters a model does not take, and how long its replies may be."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tertulia import clock
from tertulia.providers.errors import RequestRefused

# Parameters that a request can go without. The two names of the token limit replace each other.
DROPPABLE = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stream_options",
    "reasoning_content",
    "reasoning_details",
    "include",
    "reasoning",
    "prompt_cache_key",
    "cache_control",
    "reasoning_effort",
    "thinking",
    "think",
    "output_config",
    "verbosity",
    "text",
    "tool_choice",
    "parallel_tool_calls",
    "web_search_options",
    "web_search",
    "image_generation",
    "googleSearch",
    "plugins",
    "modalities",
    "thinkingConfig",
    "frequencyPenalty",
    "presencePenalty",
    "topP",
)
# Refusals that do not name the parameter.
_UNNAMED = {
    "include": re.compile("encrypted content is not supported", re.IGNORECASE),
    "reasoning": re.compile("generate reasoning summar", re.IGNORECASE),
    "web_search": re.compile("web.?search.{0,80}(support|enabled|available|permitted|allowed)", re.IGNORECASE),
    "image_generation": re.compile(
        "image.?generation.{0,80}(support|enabled|available|permitted|allowed|verified)|must be verified", re.IGNORECASE
    ),
    "googleSearch": re.compile(
        "(search.{0,20}(grounding|tool)|google.?search).{0,60}not supported|tool use with function calling is unsupported",
        re.IGNORECASE,
    ),
    "thinkingConfig": re.compile(
        "thinking.{0,60}(not (enabled|supported)|is invalid)|budget .{0,20}invalid", re.IGNORECASE
    ),
    "frequencyPenalty": re.compile("penalty is not enabled", re.IGNORECASE),
    "presencePenalty": re.compile("penalty is not enabled", re.IGNORECASE),
}
# The setting of a chat that a parameter belongs to.
SETTINGS = {
    "temperature": "temperature",
    **dict.fromkeys(("top_p", "topP", "p"), "top_p"),
    **dict.fromkeys(("frequency_penalty", "frequencyPenalty"), "frequency_penalty"),
    **dict.fromkeys(("presence_penalty", "presencePenalty"), "presence_penalty"),
    **dict.fromkeys(
        ("reasoning", "reasoning_effort", "thinking", "think", "output_config", "thinkingConfig"), "reasoning_effort"
    ),
    **dict.fromkeys(("verbosity", "text"), "verbosity"),
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "image_generation": "make_pictures",
    **dict.fromkeys(("web_search", "web_search_options", "googleSearch", "plugins"), "web_search"),
}
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
# A limit of the reply that is above the model's own, such as `max_tokens: 128000 > 64000`.
_TOO_MANY_TOKENS = re.compile(
    r"max_(completion_|output_)?tokens.{0,80}(>|too large|less than or equal|maximum|at most|exceed)", re.IGNORECASE
)
MIN_LONGEST = 256  # tokens; smaller numbers in a refusal are something else
PICTURES = "pictures"
MAX_REMEMBERED = 1000
KEPT = timedelta(days=30)  # then it is tried again: servers learn too
_COMPLAINS = re.compile(
    r"support|may (only|not) be|cannot be used|unknown|unrecogni[sz]ed|unexpected|extra inputs|not permitted|deprecated|cannot both|not compatible",
    re.IGNORECASE,
)
NO_PICTURES = re.compile(
    r"no endpoints found that support image|(not|n't) support (\w+ ){0,3}(image|vision|picture)|images?( \w+){0,3} (is|are) not supported|"
    r"unknown variant .image_url",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusals:
    """What one model was seen to refuse with one key: names of parameters, and replies of more tokens than `longest`."""

    vendor_id: str = ""
    names: frozenset[str] = frozenset()
    longest: int | None = None
    learned_at: datetime = field(default_factory=clock.now)

    def joined(self, other: "Refusals") -> "Refusals":
        """Return what both know."""
        known = [longest for longest in (self.longest, other.longest) if longest is not None]
        latest = max(self.learned_at, other.learned_at)
        return Refusals(self.vendor_id or other.vendor_id, self.names | other.names, min(known, default=None), latest)


Key = tuple[str, str]  # the account (Wire.account) and the model


class RefusedParameters:
    """What models refuse, learned from their answers. Held in memory, for the models used last.

    It belongs to an address with its key, because some refusals are about the account. `on_learned` is called with what
    changed, so that it can be stored.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Refusals] = OrderedDict()
        self._wanted: OrderedDict[Key, int] = OrderedDict()  # the limit of the last request
        self.on_learned: Callable[[Key], None] = lambda _: None

    def get(self, key: Key) -> Refusals:
        """Return what is known of a model, without what was learned too long ago."""
        known = self._known.get(key)
        return known if known is not None and known.learned_at > clock.now() - KEPT else Refusals()

    def load(self, known: Iterable[tuple[Key, Refusals]]) -> None:
        """Add what was learned before, or by another process."""
        for key, refusals in known:
            current = self._known.get(key)
            self._put(key, refusals if current is None else refusals.joined(self.get(key)))

    def of(self, account: str, model_name: str) -> frozenset[str]:
        return self.get((account, model_name)).names

    def ignored_by(self, vendor_id: str, model_name: str) -> frozenset[str]:
        """Return the settings of a chat that a model was seen to refuse, at any address of its vendor."""
        names = [
            self.get(key).names
            for key, known in self._known.items()
            if key[1] == model_name and known.vendor_id == vendor_id
        ]
        return frozenset(SETTINGS[name] for name in frozenset().union(*names) if name in SETTINGS)

    def remember(self, account: str, model_name: str, name: str, *, vendor_id: str = "") -> None:
        """Remember that a model refuses something."""
        known = self.get((account, model_name))
        self._learn((account, model_name), replace(known, names=known.names | {name}), vendor_id)

    def learn(
        self, account: str, model_name: str, refusal: RequestRefused, sent: Collection[str], *, vendor_id: str = ""
    ) -> bool:
        """Find in a refusal the sent parameter that it is about. Return False if it is about none."""
        key = (account, model_name)
        most = _most_tokens(refusal.said, self._wanted.get(key, 0))
        if most is not None:
            self._learn(key, replace(self.get(key), longest=most), vendor_id)
            return True
        name = _refused_name(refusal.said, sent)
        if name is None or name in self.of(account, model_name):
            return False
        self.remember(account, model_name, name, vendor_id=vendor_id)
        return True

    def longest_reply(self, account: str, model_name: str, wanted: int) -> int:
        """Return the wanted limit of a reply in tokens, or the most that the model accepts if that is known and less."""
        key = (account, model_name)
        longest = min(wanted, self.get(key).longest or wanted)
        self._wanted[key] = longest
        self._wanted.move_to_end(key)
        while len(self._wanted) > MAX_REMEMBERED:
            self._wanted.popitem(last=False)
        return longest

    def _learn(self, key: Key, refusals: Refusals, vendor_id: str) -> None:
        self._put(key, replace(refusals, vendor_id=vendor_id or refusals.vendor_id, learned_at=clock.now()))
        self.on_learned(key)

    def _put(self, key: Key, refusals: Refusals) -> None:
        self._known[key] = refusals
        self._known.move_to_end(key)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def _most_tokens(said: str, wanted: int) -> int | None:
    """Return the longest reply that a refusal names: the largest number below the one that was refused."""
    if not _TOO_MANY_TOKENS.search(said):
        return None
    numbers = map(int, re.findall(r"(?<![\w.-])\d{2,7}(?![\w-])", said.replace(",", "")))
    return max((number for number in numbers if MIN_LONGEST <= number < wanted), default=None)


def _refused_name(said: str, sent: Collection[str]) -> str | None:
    if PICTURES in sent and NO_PICTURES.search(said):
        return PICTURES
    unnamed = next((name for name, words in _UNNAMED.items() if name in sent and words.search(said)), None)
    if unnamed is not None or not _COMPLAINS.search(said):
        return unnamed
    named = [name for name in (*TOKEN_LIMITS, *DROPPABLE) if re.search(rf"\b{name}\b", said)]
    return next((name for name in named if name in sent), None)
