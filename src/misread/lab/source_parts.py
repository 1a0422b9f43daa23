"""The source text of functions and classes, with all of misread that they use: for programs that do without misread."""

import dis
import inspect
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

Part = Any  # a function or a class; a decorated function is no FunctionType


def parts_of(roots: Iterable[Part]) -> tuple[dict[str, int | float], list[Part]]:
    """The constants, functions and classes of misread that the roots use, each before what uses it; the roots last.

    A class counts with all methods that it defines. No part may use itself. Annotations do not count.
    """
    constants: dict[str, int | float] = {}
    parts: list[Part] = []
    for root in roots:
        for function in _functions(root):
            for name in _globals(function.__code__):
                value = function.__globals__.get(name)
                if isinstance(value, int | float):
                    constants[name] = value
                elif _is_part(value):
                    more, inner = parts_of([value])
                    constants |= more
                    parts += [part for part in inner if part not in parts]
        if root not in parts:
            parts.append(root)
    return constants, parts


def source_of(part: Part) -> str:
    """The text of a function or class, as it is in its module."""
    return inspect.getsource(part).strip()


def _is_part(value: Any) -> bool:
    plain = inspect.unwrap(value) if callable(value) else value
    return isinstance(plain, FunctionType | type) and str(plain.__module__).startswith("misread.")


def _functions(part: Part) -> Iterator[FunctionType]:
    """The function without its decorators, or the methods that a class defines."""
    for value in vars(part).values() if isinstance(part, type) else [part]:
        plain = inspect.unwrap(value) if callable(value) else value
        if isinstance(plain, FunctionType):
            yield plain


def _globals(code: CodeType) -> Iterator[str]:
    """The global names that a function's code uses, also in the expressions inside."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)
