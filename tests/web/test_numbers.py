"""Numbers on pages, written as the language of the page writes them."""

from typing import Any

import pytest

from misread.web.modules import bundle


@pytest.mark.parametrize(
    ("lang", "share", "count"),
    [("en", "12.35%", "1,234,567"), ("ko", "12.35%", "1,234,567"), ("de", "12,35\N{NO-BREAK SPACE}%", "1.234.567")],
)
def test_shares_and_counts_are_in_the_language_of_the_page(browser: Any, lang: str, share: str, count: str) -> None:
    page = browser.new_page()
    page.set_content(f'<html lang="{lang}"></html>')
    script = bundle("components/elements.js")
    shown = page.evaluate(
        f"() => {{ {script}\n const {{ percent, number }} = module_components_elements;"
        "return [percent(0.123456, 2), number(1234567), percent(1), percent(0.5, 0)] }"
    )
    page.close()
    assert shown[:2] == [share, count]
    assert shown[2:] == ([f"100,0{share[-2:]}", f"50{share[-2:]}"] if lang == "de" else ["100.0%", "50%"])
