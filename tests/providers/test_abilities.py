"""Test what models are asked for: each effort in the vendor's own words, and only what the model has."""

import pytest

from tertulia.providers.abilities import EFFORTS, Effort, abilities_of


@pytest.mark.parametrize(
    ("vendor", "model", "efforts", "words"),
    [
        ("openai", "gpt-6-astra", "low medium high max", {"none": "low", "minimal": "low", "max": "max"}),
        ("openai", "gpt-5.5-2026-04-23", "none low medium high max", {"minimal": "low", "max": "xhigh"}),
        ("openai", "gpt-5.5-pro", "medium high max", {"none": "medium", "low": "medium", "max": "xhigh"}),
        ("openai", "gpt-5-mini", "minimal low medium high", {"none": "minimal", "max": "high"}),
        ("openai", "gpt-5.2-chat-latest", "", {"high": None}),
        ("openai", "gpt-4.1", "", {"high": None}),
        ("openai", "o4-mini", "low medium high", {"none": "low", "max": "high"}),
        ("anthropic", "claude-opus-5-5", "low medium high max", {"none": "low", "max": "max"}),
        ("anthropic", "claude-sonnet-5", "none low medium high max", {"none": "none", "minimal": "low"}),
        ("anthropic", "claude-haiku-4-5-20251001", "none low medium high", {"max": "high"}),
        ("anthropic", "claude-3-5-haiku-latest", "", {"high": None}),
        ("google", "gemini-3-pro-preview", "low high", {"medium": "low", "none": "low", "max": "high"}),
        ("google", "models/gemini-3.5-flash", "minimal low medium high", {"none": "minimal"}),
        ("google", "gemini-2.5-pro", "low medium high", {"none": "low"}),
        ("google", "gemini-2.0-flash", "", {"low": None}),
        ("xai", "grok-4.3", "none low medium high", {"max": "high"}),
        ("xai", "grok-4.7", "low medium high max", {"max": "xhigh", "none": "low"}),
        ("deepseek", "deepseek-v4-pro", "none high max", {"low": "high", "medium": "high"}),
        ("moonshot", "kimi-k2.6", "none high", {"low": "high", "max": "high"}),
        ("groq", "openai/gpt-oss-120b", "low medium high", {"none": "low"}),
        ("groq", "qwen/qwen3-32b", "none high", {"low": "default", "none": "none"}),
        ("openrouter", "anthropic/claude-opus-4.8", "none low medium high max", {"minimal": "low"}),
        ("openrouter", "google/gemini-3-pro", "low high", {"medium": "low"}),
        ("bedrock", "anthropic.claude-opus-4-8", "none low medium high max", {"max": "max"}),
        ("bedrock", "openai.gpt-oss-20b", "low medium high", {"max": "high"}),
        ("custom", "some-model", "", {"high": None}),
    ],
)
def test_an_effort_is_the_nearest_word_of_the_model(
    vendor: str, model: str, efforts: str, words: dict[Effort, str | None]
) -> None:
    abilities = abilities_of(vendor, model)
    assert list(abilities.efforts) == efforts.split()
    assert {effort: abilities.word_for(effort) for effort in words} == words


@pytest.mark.parametrize(
    "model", ["gpt-6-astra", "gpt-5.5", "gpt-5", "o3", "claude-opus-5", "gemini-3-pro", "grok-4.7"]
)
def test_more_effort_is_never_a_lesser_word(model: str) -> None:
    """Expect thoughts unless they are refused."""
    vendor = {"g": "openai", "o": "openai", "c": "anthropic"}[model[0]]
    vendor = {"gemini-3-pro": "google", "grok-4.7": "xai"}.get(model, vendor)
    abilities = abilities_of(vendor, model)
    places = [abilities.words.index(abilities.word_for(effort) or "") for effort in EFFORTS]
    assert places == sorted(places)
    assert abilities.word_for("minimal") != "none"
    assert abilities.word_for(None) is None
