"""Learn from refusals which parameters a model does not take, and how long its replies may be."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tertulia import clock
from tertulia.providers.error_words import refuses_pictures
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
# Ordinary words among them: only a refusal that quotes them, or names them as a parameter, is about them.
_WORDS = frozenset({"include", "reasoning", "thinking", "think", "text", "plugins", "modalities"})
_REFUSED = r"(not |n't |un)(\w+ ){0,2}(support|enabled|available|permitted|allowed)"
# Refusals that do not name the parameter.
_UNNAMED = {
    "include": re.compile("encrypted content is not supported", re.IGNORECASE),
    "reasoning": re.compile("generate reasoning summar", re.IGNORECASE),
    "web_search": re.compile(
        rf"web.?search.{{0,40}}{_REFUSED}|(not|n't) support (\w+ ){{0,3}}web.?search", re.IGNORECASE
    ),
    "image_generation": re.compile(
        rf"image.?generation.{{0,40}}{_REFUSED}|must be verified(?!.{{0,60}}(stream|reason))",
        re.IGNORECASE,
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
# What passes is not learned.
_PASSES = re.compile(r"temporar|try (it )?again (later|in)|later\b|overload|rate.?limit", re.IGNORECASE)
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
# A model without the Responses API has no use for what only that offers.
RESPONSES = "responses"
RESPONSES_ONLY = frozenset({"web_search", "make_pictures"})
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
# A limit of the reply that is above the model's own, such as `max_tokens: 128000 > 64000`.
_TOO_MANY_TOKENS = re.compile(
    r"(max_(completion_|output_)?tokens|max(imum)? tokens|maxOutputTokens).{0,120}"
    r"(>|too large|less than or equal|maximum|at most|exceed|valid range|supported range|model limit)|range of max_tokens",
    re.IGNORECASE,
)
_SUM = re.compile(r"\d+ \+ \d+ > \d+")  # of the prompt and the reply: the prompt is too long
MIN_LONGEST = 256  # tokens; smaller numbers in a refusal are something else
PICTURES = "pictures"
MAX_REMEMBERED = 1000
KEPT = timedelta(days=30)  # then it is tried again: servers learn too
_COMPLAINS = re.compile(
    r"(not|n't) (be |yet )?(support|permitted|allowed|available|enabled|accept|compatible)|unsupported|may (only|not) be|"
    r"cannot be used|unknown|unrecogni[sz]ed|unexpected|extra inputs|deprecated|cannot both|only support",
    re.IGNORECASE,
)
SYSTEM = "system"  # messages with instructions
_NO_SYSTEM = re.compile(
    r"(system|developer) (role|instructions?|messages?|prompts?)( \w+){0,2} (is |are )?not (supported|enabled|allowed)",
    re.IGNORECASE,
)
LONGEST = "longest_reply"  # among the names: when the longest reply was learned


@dataclass(frozen=True)
class Refusals:
    """What one model was seen to refuse with one key: parameters, with when, and replies of more tokens than `longest`."""

    names: Mapping[str, datetime] = field(default_factory=dict)
    longest: int | None = None

    @property
    def learned_at(self) -> datetime:
        return max(self.names.values(), default=datetime.min.replace(tzinfo=UTC))

    def joined(self, other: "Refusals") -> "Refusals":
        """Return what both know; of the longest reply what was learned last."""
        newest = {name: max(when, other.names.get(name, when)) for name, when in self.names.items()}
        later = max(self, other, key=lambda known: known.names.get(LONGEST, datetime.min.replace(tzinfo=UTC)))
        return Refusals({**other.names, **newest}, later.longest)

    def fresh(self) -> "Refusals":
        """Return it without what was learned too long ago."""
        since = clock.now() - KEPT
        names = {name: when for name, when in self.names.items() if when > since}
        return replace(self, names=names, longest=self.longest if LONGEST in names else None)


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
        return known.fresh() if known is not None else Refusals()

    def load(self, known: Iterable[tuple[Key, Refusals]]) -> None:
        """Add what was learned before, or by another process."""
        for key, refusals in known:
            current = self._known.get(key)
            self._put(key, refusals if current is None else refusals.joined(current))

    def of(self, account: str, model_name: str) -> frozenset[str]:
        return frozenset(self.get((account, model_name)).names)

    def ignored_by(self, account: str, model_name: str) -> frozenset[str]:
        """Return the settings of a chat that a model was seen to refuse with this key."""
        names = self.of(account, model_name)
        alone = RESPONSES_ONLY if RESPONSES in names else frozenset()
        return alone | frozenset(SETTINGS[name] for name in names if name in SETTINGS)

    def remember(self, account: str, model_name: str, name: str) -> None:
        """Remember that a model refuses something."""
        known = self.get((account, model_name))
        self._learn((account, model_name), replace(known, names={**known.names, name: clock.now()}))

    def learn(self, account: str, model_name: str, refusal: RequestRefused, sent: Collection[str]) -> bool:
        """Find in a refusal the sent parameter that it is about. Return False if it is about none."""
        key = (account, model_name)
        most = _most_tokens(refusal.said, self._wanted.get(key, 0))
        if most is not None:
            known = self.get(key)
            self._learn(key, replace(known, longest=most, names={**known.names, LONGEST: clock.now()}))
            return True
        name = _refused_name(refusal.said, sent)
        if name is None or name in self.of(account, model_name):
            return False
        self.remember(account, model_name, name)
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

    def _learn(self, key: Key, refusals: Refusals) -> None:
        self._put(key, refusals)
        self.on_learned(key)

    def _put(self, key: Key, refusals: Refusals) -> None:
        self._known[key] = refusals
        self._known.move_to_end(key)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def _most_tokens(said: str, wanted: int) -> int | None:
    """Return the longest reply that a refusal names: the largest number below the one that was refused."""
    if not _TOO_MANY_TOKENS.search(said) or _SUM.search(said):
        return None
    numbers = map(int, re.findall(r"(?<![\w.-])\d{2,7}(?![\w-])", said.replace(",", "")))
    most = max((number for number in numbers if MIN_LONGEST <= number < wanted), default=None)
    return most - 1 if most is not None and f"{most} (exclusive)" in said else most


def _refused_name(said: str, sent: Collection[str]) -> str | None:
    """Return the sent parameter that a refusal is about: the one that it names first."""
    if PICTURES in sent and refuses_pictures(said):
        return PICTURES
    if SYSTEM in sent and _NO_SYSTEM.search(said):
        return SYSTEM
    if _PASSES.search(said):
        return None
    unnamed = next((name for name, words in _UNNAMED.items() if name in sent and words.search(said)), None)
    if unnamed is not None or not _COMPLAINS.search(said):
        return unnamed
    named = [
        (at, name) for name in (*TOKEN_LIMITS, *DROPPABLE) if name in sent and (at := _place_of(name, said)) is not None
    ]
    return min(named)[1] if named else None


def _place_of(name: str, said: str) -> int | None:
    """Return where a refusal names a parameter."""
    as_name = rf"['\"`]{name}\b|^{name}[:.]|(parameter|argument|field|property|name)s?:? {name}\b|\b{name}\.\w"
    match = re.search(as_name if name in _WORDS else rf"\b{name}\b", said)
    return match.start() if match else None
