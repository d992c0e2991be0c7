"""Write the tables of vendors and their abilities into docs/reference/providers.md, from the code."""

from collections.abc import Iterable
from pathlib import Path

from genai_prices import data  # noqa: TID251 - one thread

from tertulia.providers.abilities import Abilities, abilities_of
from tertulia.providers.vendors import VENDORS, Vendor

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/providers.md"
WIRES = {
    "openai": "chat completions",
    "responses": "Responses",
    "anthropic": "Messages",
    "google": "Gemini",
    "cohere": "Chat v2",
    "bedrock": "Messages, Responses, chat completions",
    "ollama": "Ollama",
}
# Models of vendors that are in no price list.
EXAMPLES = {
    "ollama": ("qwen3.5", "gpt-oss:20b", "llama3.3"),
    "lmstudio": ("openai/gpt-oss-20b", "qwen/qwen3.5"),
    "vllm": ("openai/gpt-oss-120b", "Qwen/Qwen3.5"),
    "huggingface": ("openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V4"),
    "nvidia": ("openai/gpt-oss-120b", "nvidia/nemotron-4"),
    "custom": ("openai/gpt-oss-120b", "another"),
}


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """Return the page with both tables replaced."""
    page = _replaced(page, "vendors", _vendors())
    return _replaced(page, "abilities", _abilities())


def _replaced(page: str, name: str, table: str) -> str:
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def _vendors() -> str:
    rows = ["| provider | name | address | required settings |", "|---|---|---|---|"]
    for vendor in VENDORS:
        address = f"`{vendor.base_url}`" if vendor.base_url else "yours"
        required = [f"`{field.name}`" for field in vendor.fields]
        required += ["the address"] if vendor.base_url is None else []
        required += ["no key needed"] if not vendor.needs_key else []
        rows.append(f"| `{vendor.id}` | {vendor.display_name} | {address} | {'; '.join(required)} |")
    return "\n".join(rows)


def _abilities() -> str:
    rows = [
        "| provider | API | effort | verbosity | web search | PDF | audio, video | makes pictures |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for vendor in VENDORS:
        models = [abilities_of(vendor.id, name) for name in _models(vendor)]
        cells = (
            _share(bool(model.efforts) for model in models),
            _share(model.has_verbosity for model in models),
            _search(models),
            _share("pdf" in model.inputs for model in models),
            _share("audio" in model.inputs for model in models),
            _share(model.pictures != "no" for model in models),
        )
        rows.append(f"| `{vendor.id}` | {WIRES[vendor.wire]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _models(vendor: Vendor) -> tuple[str, ...]:
    priced = next((provider for provider in data.providers if provider.id == vendor.prices_id), None)
    if priced is None:
        return EXAMPLES[vendor.id]
    return tuple(model.id for model in priced.models if not model.deprecated)


def _share(answers: Iterable[bool]) -> str:
    known = list(answers)
    return "all models" if all(known) else f"{sum(known)} of {len(known)} models" if any(known) else "–"


def _search(models: list[Abilities]) -> str:
    always = any(model.always_searches for model in models)
    return "always" if always and not any(model.searches for model in models) else _share(m.searches for m in models)


if __name__ == "__main__":
    main()
