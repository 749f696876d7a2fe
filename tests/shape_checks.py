"""Which annotations are checked while tests run: the shapes and kinds of tensors, nothing else.

Protocols, callables and the types of other packages are mypy's business; checking them at each
call would refuse the small stand-ins that tests use, and take time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import beartype
import jaxtyping

Function = TypeVar("Function", bound=Callable[..., Any])


def shapes_only(function: Function) -> Function:
    """A type checker for `jaxtyping`: beartype on those annotations that have a shape in them."""
    shaped = {
        name: hint
        for name, hint in getattr(function, "__annotations__", {}).items()
        if _has_shape(hint)
    }
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype.beartype(function)


def _has_shape(hint: object) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_shape(part) for part in get_args(hint))
