"""ES modules as one script. A page opened from a file may not load modules from other files."""

import re
from collections.abc import Callable
from importlib.resources import files

IMPORT = re.compile(r'^import\s+(?:\{(?P<names>[^}]*)\}|\*\s+as\s+(?P<whole>\w+))\s+from\s+"(?P<path>[^"]+)";$', re.M)
SIDE_EFFECTS = re.compile(r'^import\s+"(?P<path>[^"]+)";$', re.M)
EXPORT = re.compile(r"^export (?=(?:async )?function\*? (\w+)|class (\w+)|const (\w+))", re.M)


def source(path: str) -> str:
    """The text of a file below `misread/web`. path: with slashes, like "network/model.js"."""
    text: str = files("misread.web").joinpath(*path.split("/")).read_text(encoding="utf-8")
    return text


def bundle(entry: str) -> str:
    """A module and all that it imports as one module, in the order of their imports.

    entry: the path of the module below `misread/web`.
    Every module becomes a function that returns its exports, so equal names in two modules do not meet.
    Raises ValueError: a form of import or export that is not understood, a name that the other module does not export,
    modules that import each other in a circle, or text that would end a script element.
    """
    return bundle_sources(entry, source)


def bundle_sources(entry: str, read: Callable[[str], str]) -> str:
    """As `bundle`, of modules from anywhere. read: gives the text of a module by its path."""
    exports: dict[str, list[str]] = {}  # by path, in the order of the bundle
    parts: list[str] = []
    open_paths: list[str] = []

    def add(path: str) -> None:
        if path in exports:
            return
        if path in open_paths:
            raise ValueError(f"Modules import each other in a circle: {' -> '.join([*open_paths, path])}.")
        open_paths.append(path)
        text = read(path)
        for match in sorted([*IMPORT.finditer(text), *SIDE_EFFECTS.finditer(text)], key=lambda found: found.start()):
            add(_resolved(path, match["path"]))
        open_paths.pop()
        body, exports_here = _without_exports(_with_constants(text, path, exports))
        if left := re.search(r"^(import|export)\b.*", body, re.M):
            raise ValueError(f"{path}: this form is not understood: {left[0]}")
        exports[path] = exports_here
        returned = f"return {{ {', '.join(exports_here)} }};\n" if exports_here else ""
        parts.append(f"// {path}\nconst {_name(path)} = (() => {{\n{body}{returned}}})();\n")

    add(entry)
    script = "\n".join(parts)
    if found := re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError(f"A script in a page cannot have the text {found[0]}.")
    return script


def _with_constants(text: str, path: str, exports: dict[str, list[str]]) -> str:
    """Imports as constants that take the names from the other module's exports."""

    def constant(match: re.Match[str]) -> str:
        other = _resolved(path, match["path"])
        if match["whole"]:
            return f"const {match['whole']} = {_name(other)};"
        pairs = [pair.split() for pair in match["names"].split(",") if pair.strip()]
        for name, *_ in pairs:
            if name not in exports[other]:
                raise ValueError(f"{path} imports {name} from {other}, which does not export it.")
        names = ", ".join(f"{pair[0]}: {pair[-1]}" if len(pair) == 3 else pair[0] for pair in pairs)
        return f"const {{ {names} }} = {_name(other)};"

    return SIDE_EFFECTS.sub("", IMPORT.sub(constant, text))


def _without_exports(text: str) -> tuple[str, list[str]]:
    """The text without the word export, and the exported names."""
    names = [next(name for name in match.groups() if name) for match in EXPORT.finditer(text)]
    return EXPORT.sub("", text), names


def _resolved(path: str, relative: str) -> str:
    if not relative.startswith("."):
        raise ValueError(f'{path} imports "{relative}"; only relative paths are understood.')
    parts = path.split("/")[:-1]
    for step in relative.split("/"):
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)


def _name(path: str) -> str:
    """The constant that has a module's exports."""
    return "module_" + re.sub(r"\W", "_", path.removesuffix(".js"))
