"""Modules become one script that does what they did."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from misread.web.modules import bundle, bundle_sources, source

MODULES = {
    "rooms/a.js": """import { one, two as second } from "../parts/b.js";
import * as c from "../parts/c.js";
const own = 1;
console.log(JSON.stringify([own, one(), second, c.Thing.name, new c.Thing().own()]));
""",
    "parts/b.js": """import { Thing } from "./c.js";
const own = 2;
export function one() {
  return [own, typeof Thing];
}
export const two = {
  deep: [own],
};
""",
    "parts/c.js": """const own = 3;
export class Thing {
  own() {
    return own;
  }
}
""",
}


@pytest.mark.skipif(shutil.which("node") is None, reason="the script runs in Node.js")
def test_a_bundle_runs_as_the_modules_do_and_private_names_do_not_meet(tmp_path: Path) -> None:
    script = tmp_path / "script.mjs"
    script.write_text(bundle_sources("rooms/a.js", MODULES.__getitem__))
    printed = subprocess.run(["node", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [1, [2, "function"], {"deep": [2]}, "Thing", 3]


def test_every_module_comes_once_after_those_that_it_imports() -> None:
    script = bundle("components/page.js")
    marks = [line[3:] for line in script.splitlines() if line.startswith("// ") and line.endswith(".js")]
    assert len(marks) == len(set(marks))
    assert (
        marks.index("components/elements.js") < marks.index("components/gallery.js") < marks.index("components/page.js")
    )
    assert marks[-1] == "components/page.js"
    assert "import " not in [line[:7] for line in script.splitlines()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts/c.js": 'import { one } from "./b.js";\n'}, "rooms/a.js -> parts/b.js -> parts/c.js -> parts/b.js"),
        ({"parts/c.js": "const own = 3;\n"}, "parts/b.js imports Thing from parts/c.js, which does not export it"),
        ({"parts/c.js": "export default class Thing {}\n"}, "which does not export it|not understood"),
        ({"parts/b.js": "export { one };\n"}, r"parts/b.js: this form is not understood: export \{ one \};"),
        ({"parts/c.js": 'import x from "y";\nexport class Thing {}\n'}, "parts/c.js: this form is not understood"),
        ({"parts/c.js": 'import { x } from "y";\nexport class Thing {}\n'}, 'imports "y"; only relative paths'),
        ({"parts/c.js": 'export class Thing {}\nconst end = "</script>";\n'}, "cannot have the text </script"),
    ],
)  # fmt: skip
def test_what_cannot_be_bundled_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bundle_sources("rooms/a.js", {**MODULES, **changes}.__getitem__)


def test_a_source_is_a_file_of_the_package() -> None:
    assert source("network/model.js").startswith("// A trained network in the page")
