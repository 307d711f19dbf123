"""What a command says when it can't do its work."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from cds_service.errors import CdsServiceError

__all__ = ["says_what_is_wrong"]

P = ParamSpec("P")
R = TypeVar("R")


def says_what_is_wrong(command: Callable[P, R]) -> Callable[P, R]:
    """Our own errors are a line each and exit status 2; bugs keep their traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CdsServiceError as error:
            for fault in error.faults:
                click.echo(str(fault), err=True)
            sys.exit(2)

    return wrapped
