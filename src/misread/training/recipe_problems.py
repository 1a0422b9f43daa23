"""Messages for every problem in a recipe, with the nearest known spelling."""

from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from misread.names import nearest


def problems_in(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line for each problem that pydantic found in a `model`: where it is, what is wrong, what to do."""
    path = partial(_path, tags={tag for part in _models_below(model) for tag in _own_tags(part)})
    for problem in error.errors():
        loc = [str(part) for part in problem["loc"]]
        context = problem.get("ctx", {})
        value = problem["input"]
        match problem["type"]:
            case "extra_forbidden":
                known = _fields_at(model, loc[:-1])
                yield f"{path(loc)}: there is no such setting.{nearest(loc[-1], known) or _listed(known)}"
            case "union_tag_invalid":
                tags = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
                key = context["discriminator"].strip("'")
                tag = context["tag"]
                yield f"{path(loc)}.{key}: {tag!r} is unknown.{nearest(tag, tags)}{_listed(tags)}"
            case "union_tag_not_found":
                yield f"{path(loc)}: it needs a {context['discriminator']}."
            case "literal_error":
                choices = [c.strip("'") for c in context["expected"].replace(" or ", ", ").split(", ")]
                if loc[-1].startswith("literal["):  # one branch of "a number or a word"; the message covers both
                    yield f"{path(loc)}: {value!r} is neither a whole number nor {context['expected']}."
                else:
                    yield f"{path(loc)}: {value!r} is unknown.{nearest(str(value), choices)}{_listed(choices)}"
            case "missing":
                yield f"{path(loc)}: it is missing. Add it."
            case "value_error":
                yield str(context["error"])
            case _ if "constrained-int" in loc and _is_text(value):
                continue  # reported by the other branch of the union
            case _:
                message = problem["msg"][0].lower() + problem["msg"][1:]
                yield f"{path(loc)}: {value!r}: {message}."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _listed(names: Any) -> str:
    return f" Known: {', '.join(names)}."


def _path(loc: list[str], tags: set[Any]) -> str:
    """`optimizer.learning_rate` from pydantic's location, without tags and types."""
    shown = [part for part in loc if not (part in tags or "[" in part or part == "constrained-int")]
    return ".".join(shown) or "recipe"


def _fields_at(model: type[BaseModel], loc: list[str]) -> list[str]:
    """The names of the settings at a location in a recipe."""
    fields: dict[str, FieldInfo] = dict(model.model_fields)
    options: list[type[BaseModel]] = [model]
    for part in loc:
        if part.isdecimal():
            continue
        tagged = [o for o in options if part in _own_tags(o)]
        if tagged:
            options = tagged
        elif part in fields:
            options = list(_models_in(fields[part].annotation))
        fields = {name: field for option in options for name, field in option.model_fields.items()}
    return list(fields)


def _own_tags(model: type[BaseModel]) -> set[Any]:
    return {f.default for n, f in model.model_fields.items() if n in ("type", "name")}


def _models_below(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> Iterator[type[BaseModel]]:
    """The model, and all models nested in it, each once: a layer may contain layers."""
    seen = {model} if seen is None else seen
    yield model
    for field in model.model_fields.values():
        for part in _models_in(field.annotation):
            if part not in seen:
                seen.add(part)
                yield from _models_below(part, seen)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
