"""Test the names of devices that a person sees in the list of sessions."""

import pytest

from tertulia.accounts.sessions import describe_device

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "browser", "platform"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Edg/140.0.0.0", "Edge", "Windows"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} OPR/120.0.0.0", "Opera", "Linux"),
        (f"Mozilla/5.0 (Linux; Android 15) {CHROME}", "Chrome", "Android"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari",
            "iOS",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", "Safari", "macOS"),
        ("curl/8.9", "Other", "Other"),
        ("", "Other", "Other"),
    ],
)
def test_a_device_is_named_by_its_browser_and_platform(user_agent: str, browser: str, platform: str) -> None:
    device = describe_device(user_agent, "203.0.113.7")
    assert (device.browser, device.platform, device.ip_address) == (browser, platform, "203.0.113.7")


def test_a_long_user_agent_is_cut_at_300_characters() -> None:
    assert [len(describe_device("x" * length, None).user_agent) for length in (300, 301)] == [300, 300]
