"""The documentation names everything that can be set, and links to what is there."""

import re
from pathlib import Path

import pytest
import typer

from misread.cli.main import app
from misread.data.named import NAMED
from misread.models import layer_specs, layers
from misread.runs import held_out, record
from misread.training import recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]


def test_every_verb_and_option_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text()
    command = typer.main.get_command(app)
    sections = re.split(r"^## misread ", text, flags=re.M)[1:]
    by_verb: dict[str, str] = {}
    for section in sections:
        by_verb[section.split()[0]] = by_verb.get(section.split()[0], "") + section
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        assert name in by_verb
        for sub in getattr(verb, "commands", {"": verb}).values():
            for parameter in sub.params:
                for option in (o for o in parameter.opts if o.startswith("--") and o != "--help"):
                    assert f"`{option}" in by_verb[name], f"misread {name} {option}"


def test_every_recipe_setting_is_documented() -> None:
    text = (DOCS / "recipes.md").read_text()
    specs = [getattr(m, n) for m in (recipe, layer_specs) for n in dir(m)]
    fields = {
        field
        for spec in specs
        if isinstance(spec, type) and issubclass(spec, layer_specs.Spec)
        for field in spec.model_fields
    }
    for field in fields:
        assert re.search(rf"`([a-z_]+\.)?{field}[.`]", text), field
    for name in (*layers.ACTIVATIONS, *layer_specs.LayerSpec.__origin__.__args__):  # type: ignore[attr-defined]
        said = name if isinstance(name, str) else name.model_fields["type"].default
        assert f"`{said}`" in text, said


def test_every_key_of_the_record_is_documented() -> None:
    text = (DOCS / "run-folder.md").read_text()
    parts = (record.RunRecord, record.DataRecord, record.ModelRecord, record.EngineRecord, record.LabelPatchRecord)
    for part in (*parts, record.Timing, record.Interruption):
        for field in part.model_fields:
            assert f"`{field}" in text, field


def test_every_key_of_held_out_predictions_is_documented() -> None:
    text = (DOCS / "labels.md").read_text()
    for field in held_out.HeldOutRecord.model_fields:
        assert f"`{field}`" in text, field


def test_every_named_set_is_documented() -> None:
    text = (DOCS / "data.md").read_text()
    for name, data in NAMED.items():
        assert f"| `{name}` |" in text
        assert data.licence.split(" (")[0] in text


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings: small letters, without punctuation, hyphens for spaces."""
    outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", outside, flags=re.M)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)|<img[^>]* src=\"([^\"]+)\"", page.read_text()):
        link, _, anchor = (target[0] or target[1]).partition("#")
        if not link.startswith("http"):
            leads_to = page.parent / link if link else page
            assert leads_to.exists(), link
            assert not anchor or anchor in anchors(leads_to), f"{link}#{anchor}"
