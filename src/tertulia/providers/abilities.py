"""Say what each model can be asked for, by its vendor's rules: effort, verbosity, web search, files, pictures.

The rules are in the vendors' documentation; where it is silent, a refusal is read (request_rules.py). A model that is
in no table is asked for nothing, and takes what it takes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Effort = Literal["none", "minimal", "low", "medium", "high", "max"]
Verbosity = Literal["low", "medium", "high"]
ToolChoice = Literal["auto", "none", "required"]
# Whether a model does something of its vendor's own: never, if it is asked to, or for each reply.
Offer = Literal["no", "offered", "always"]
WebSearch = Offer | Literal["alone"]  # `alone`: only in replies without tools
InputKind = Literal["picture", "pdf", "audio", "video"]
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "max")
# The words of vendors in order. Two of them are the most for us.
_RANKS = {word: rank for rank, word in enumerate(("none", "minimal", "low", "medium", "high", "xhigh", "max"))}

# The efforts that models take, in the vendor's words, by the beginning of their names. The first match decides.
_Table = tuple[tuple[str, str], ...]
_OPENAI: _Table = (
    (r"gpt-6-astra|gpt-6\.1-sol", "low medium high xhigh max"),
    (r"gpt-6|gpt-5\.6", "none low medium high xhigh max"),
    (r"gpt-5\.[2-9]-pro", "medium high xhigh"),
    (r"gpt-5(\.\d)?-chat|gpt-5-pro", ""),
    (r"gpt-5\.[2-5]", "none low medium high xhigh"),
    (r"gpt-5\.1-codex", "low medium high"),
    (r"gpt-5\.1", "none low medium high"),
    (r"gpt-5", "minimal low medium high"),
    (r"gpt-oss|gpt-[7-9]|o[134](-|$)", "low medium high"),
)
_ANTHROPIC: _Table = (
    (r"claude-(fable|mythos)-|claude-opus-5-5", "low medium high xhigh max"),
    (r"claude-(opus|sonnet|haiku)-[5-9]|claude-opus-4-[78]", "none low medium high xhigh max"),
    (r"claude-(opus|sonnet)-4-6", "none low medium high max"),
    (r"claude-(3-7|opus-4|sonnet-4|haiku-4)", "none low medium high"),
)
_GOOGLE: _Table = (
    (r"gemini-2\.5-flash-image|gemini-(1|2\.0)", ""),
    (r"gemini-2\.5-pro", "low medium high"),
    (r"gemini-2\.5", "none low medium high"),
    (r"gemini-3\.1-flash-lite-image", "minimal high"),
    (r"gemini-3\.[78]-flash|gemini-3\.1-pro|gemini-[4-9]", "low medium high"),
    (r"gemini-3-pro", "low high"),
    (r"gemini-3", "minimal low medium high"),
)
_XAI: _Table = (
    (r"grok-3-mini", "none low high"),
    (r"grok-4\.3|grok-latest|grok-4-(0709|fast|1-fast)", "none low medium high"),
    (r"grok-4\.[56]|grok-build-latest", "low medium high"),
    (r"grok-4\.[7-9]|grok-[5-9]", "low medium high xhigh"),
)
_DEEPSEEK: _Table = ((r"deepseek-(v[4-9]|flash)", "none high max"),)
_MOONSHOT: _Table = ((r"kimi-k3", "low high max"), (r"kimi-k2\.[56]", "none high"))
_MISTRAL: _Table = ((r"mistral-small-(latest|26)|mistral-medium(-latest|-3(-5|$)|-26|$)", "none high"),)
_COHERE: _Table = ((r"command-a-(reasoning|plus)|command-[b-z]", "none low medium high"),)
_QWEN_AT_GROQ: _Table = ((r"qwen3", "none default"),)
_OLLAMA: _Table = ((r"gpt-oss", "low medium high"), (r"qwen3|deepseek-[rv]|magistral|gemma4|glm-|kimi-", "none high"))
_OPEN: _Table = ((r"gpt-oss", "low medium high"),)
_BY_VENDOR: dict[str, _Table] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "anthropic": _ANTHROPIC,
    "google": _GOOGLE,
    "xai": _XAI,
    "deepseek": _DEEPSEEK,
    "moonshot": _MOONSHOT,
    "mistral": _MISTRAL,
    "cohere": _COHERE,
    "groq": (*_OPEN, *_QWEN_AT_GROQ),
    "cerebras": (*_OPEN, (r"zai-glm-5|kimi-k3", "low high max")),
    "bedrock": (*_ANTHROPIC, *_OPENAI),
    "openrouter": (*_OPENAI, *_ANTHROPIC, *_GOOGLE, *_XAI, *_DEEPSEEK, *_MOONSHOT),
    "ollama": _OLLAMA,
}
# Models that take these kinds of files, by maker. Others receive the extracted text.
_SEES_FILES: dict[str, tuple[str, frozenset[InputKind]]] = {
    "openai": (r"gpt-(4o|4\.1|[5-9])|o[13](-(?!mini)|$)|o4", frozenset({"pdf"})),
    "anthropic": (r"claude-(3-[57]|[a-z]+-[4-9])", frozenset({"pdf"})),
    "google": (r"gemini-(?!.*image)", frozenset({"pdf", "audio", "video"})),
    "openrouter": (r"(openai|anthropic)/|google/gemini", frozenset({"pdf"})),
}
_SEARCHES = {
    "openai": r"gpt-(4o|4\.1(?!-nano)|[5-9](?!.*-chat))|o[34](-|$)",
    "azure": r"gpt-(4o|4\.1(?!-nano)|[5-9](?!.*-chat))|o[34](-|$)",
    "anthropic": r"claude-(3-[57]|[a-z]+-[4-9])",
    "google": r"gemini-(2|[3-9])(?!.*image)",
    "xai": r"grok-([4-9]|latest|build)",
    "openrouter": r"",  # its own search works with any model
}
_ALWAYS_SEARCHES = {
    "perplexity": r"sonar",
    "groq": r"(groq/)?compound",
    "openrouter": r"perplexity/|.*:online$|.*-search-(preview|api)",
    "openai": r".*-search-(preview|api)",
    "custom": r"sonar|.*:online$",
}
# Models that see no pictures, of vendors whose lists do not say so.
_BLIND = {"cohere": r"command-(?!a-(vision|plus))", "deepseek": r"deepseek-", "perplexity": r"sonar-deep"}
# Google's models before Gemini 3 refuse a search together with tools of ours.
_SEARCHES_ALONE = r"gemini-2"
_ALWAYS_DRAWS = r"gemini-[\w.-]*image|gpt-[5-9][\w.]*-image"
# Models that call the picture tool of the Responses API (developers.openai.com/api/docs/guides/image-generation).
_CAN_DRAW = r"gpt-(4o|4\.1|[5-9](?!.*-(chat|codex)))|o3($|-2)"
_HAS_VERBOSITY = {"openai": r"gpt-[5-9](?!.*-chat)", "azure": r"gpt-[5-9](?!.*-chat)"}
# Models that refuse to be made to call a tool.
_UNFORCED = re.compile(r"claude-((fable|mythos)-5-[12]|(opus|sonnet)-5-5)|deepseek-(reasoner|v4|flash)")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can be asked for. `words` are its efforts in the vendor's words, from the least to the most."""

    words: tuple[str, ...] = ()
    has_verbosity: bool = False
    searches: bool = False  # with the vendor's own web search, if asked to
    searches_alone: bool = False  # only in requests without tools
    always_searches: bool = False
    inputs: frozenset[InputKind] = frozenset()
    draws: bool = False  # with a model of its vendor that makes pictures, if asked to
    always_draws: bool = False  # it is such a model
    is_blind: bool = False  # it is known to see no pictures
    can_be_forced: bool = True  # to call a tool

    @property
    def web_search(self) -> WebSearch:
        if self.always_searches or not self.searches:
            return "always" if self.always_searches else "no"
        return "alone" if self.searches_alone else "offered"

    @property
    def pictures(self) -> Offer:
        return "always" if self.always_draws else "offered" if self.draws else "no"

    @property
    def efforts(self) -> tuple[Effort, ...]:
        """Return the efforts to choose from."""
        own = {_ours(word) for word in self.words}
        return tuple(effort for effort in EFFORTS if effort in own)

    def word_for(self, effort: Effort | None) -> str | None:
        """Return the vendor's word that is nearest to an effort, the cheaper of two; None if there is none.

        No thinking is only chosen if it was asked for.
        """
        if effort is None or not self.words:
            return None
        if effort == "max":
            return self.words[-1]
        wanted = _RANKS[effort]
        thinking = [word for word in self.words if word != "none"]
        candidates = self.words if effort == "none" else thinking
        return min(candidates, key=lambda word: (abs(_rank(word) - wanted), _rank(word)))


@lru_cache(maxsize=4096)
def abilities_of(vendor_id: str, model_name: str) -> Abilities:
    """Return what a model of a vendor can be asked for."""
    name = model_name.lower().removeprefix("models/")
    if "claude" in name:  # OpenRouter writes 4.8, Anthropic 4-8
        name = re.sub(r"(\d)\.(\d)", r"\1-\2", name)
    return Abilities(
        words=words_of(_BY_VENDOR.get(vendor_id, _OPEN), name),
        has_verbosity=_fits(_HAS_VERBOSITY.get(vendor_id), name),
        searches=_fits(_SEARCHES.get(vendor_id), name),
        searches_alone=vendor_id == "google" and _fits(_SEARCHES_ALONE, name),
        always_searches=_fits(_ALWAYS_SEARCHES.get(vendor_id), name),
        inputs=_inputs(vendor_id, name),
        draws=vendor_id in ("openai", "azure") and _fits(_CAN_DRAW, name),
        always_draws=vendor_id in ("google", "openrouter") and _fits(_ALWAYS_DRAWS, name),
        is_blind=_fits(_BLIND.get(vendor_id), name),
        can_be_forced=not _UNFORCED.search(name),
    )


_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
_SAMPLING = frozenset({"temperature", "top_p"})
_IGNORED: dict[str, frozenset[str]] = {
    "anthropic": _PENALTIES,
    "openai": _PENALTIES,
    "azure": _PENALTIES,
    "xai": _PENALTIES,
}
# Models that reject any temperature or top_p other than their default.
WITHOUT_SAMPLING = re.compile(r"claude-(opus-4-[78]|(opus|sonnet|haiku|fable|mythos)-[5-9])")


def settings_ignored(vendor_id: str, model_name: str) -> frozenset[str]:
    """Return the settings of a chat that are never sent to a model, by its vendor's rules."""
    ignored = _IGNORED.get(vendor_id, frozenset())
    is_claude = vendor_id in ("anthropic", "bedrock") and "claude" in model_name
    ignored |= _PENALTIES if is_claude else frozenset()
    return ignored | (_SAMPLING if is_claude and WITHOUT_SAMPLING.search(model_name) else frozenset())


def words_of(table: Sequence[tuple[str, str]], name: str) -> tuple[str, ...]:
    """Return the words of the first rule that a name fits; a maker's name before it, as gateways write it, is skipped."""
    return next((tuple(words.split()) for pattern, words in table if _fits(pattern, name)), ())


def _inputs(vendor_id: str, name: str) -> frozenset[InputKind]:
    maker = {"azure": "openai"}.get(vendor_id, vendor_id)
    if vendor_id == "bedrock":
        maker = "anthropic"  # the others there take no files
    pattern, kinds = _SEES_FILES.get(maker, (None, frozenset()))
    return kinds if _fits(pattern, name) else frozenset()


def _fits(pattern: str | None, name: str) -> bool:
    return pattern is not None and re.search(rf"(^|[/.])({pattern})", name) is not None


def _rank(word: str) -> int:
    return _RANKS.get(word, _RANKS["high"])  # `default` of some vendors is their usual thinking


def _ours(word: str) -> Effort:
    return EFFORTS[min(_rank(word), len(EFFORTS) - 1)]
