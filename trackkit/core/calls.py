"""Calls in progress, as their frames show them: who called, and when a call is over.

For frameworks that tell a callback of every iteration but neither of the end nor of an exception: the function that
trains is on the stack, and what its frame alone holds goes when it returns or raises.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

_KEY = "trackkit_witness"


class _Witness:
    """Lives as long as the frame it is put into."""


def caller(frame: FrameType | None, function: str, module: str) -> FrameType | None:
    """The nearest call of a function on the stack.

    Parameters
    ----------
    frame
        Where to begin: a caller's frame. A function that keeps its own frame keeps all that called it.
    function
        The function's name.
    module
        The top-level package it belongs to.
    """
    while frame is not None:
        if frame.f_code.co_name == function and frame.f_globals.get("__name__", "").partition(".")[0] == module:
            return frame
        frame = frame.f_back
    return None


def when_over(frame: FrameType, call: Callable[..., Any], *arguments: Any) -> weakref.finalize[Any, Any]:
    """Have something called when a call in progress has returned, or its exception was handled.

    An exception keeps its frames until it is handled; what ends the process is not waited for.

    Parameters
    ----------
    frame
        The frame of the call.
    call, *arguments
        What to call.

    Returns
    -------
    weakref.finalize
        To be detached, or called at once.
    """
    witness = _Witness()
    frame.f_locals[_KEY] = witness
    ending = weakref.finalize(witness, call, *arguments)
    ending.atexit = False
    return ending
