"""axe-core, an accessibility checker, on a page. It is no part of misread: `npm install axe-core` brings it."""

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_named = os.environ.get("MISREAD_AXE")  # read here: tests have a folder of their own
AXE = Path(_named).resolve() if _named else ROOT / "node_modules" / "axe-core" / "axe.min.js"


def serious_violations(page: Any) -> list[str]:
    """One line for each serious or critical violation, with the elements. Skips the test where axe-core is missing."""
    if not AXE.is_file():
        message = "axe-core is missing: npm install axe-core, and MISREAD_AXE=node_modules/axe-core/axe.min.js"
        (pytest.fail if os.environ.get("MISREAD_CI") else pytest.skip)(message)
    page.evaluate(AXE.read_text(encoding="utf-8"))  # not as a script element, which the page forbids
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:4]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
