"""Runs checks in order: a line for each that passed, and the name of the one that failed."""

import asyncio
import inspect
import os
import sys
import traceback


def run(checks, *given):
    """Calls every check with what is given; the first that fails ends the program."""
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            check(*given)
        except BaseException:
            fail(name)
        passed(name)


async def run_async(checks, *given):
    """Like run, for checks that are coroutines."""
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            await asyncio.wait_for(check(*given), 30)
        except BaseException:
            fail(name)
        passed(name)


def passed(name):
    print(f"ok: {name}", flush=True)


def fail(name):
    traceback.print_exc()
    sys.stderr.flush()
    print(f"FAILED: {name}", flush=True)
    # The threads of a client would keep the process alive.
    os._exit(1)


def equal(found, wanted):
    """Fails unless both are the same."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def texts(error):
    """Everything that an error says, its causes included."""
    said = []
    while error is not None:
        said += [str(error), str(getattr(error, "detail_text", ""))]
        error = error.__cause__ or error.__context__
    return " ".join(said)


def refused(text, call, *arguments, **options):
    """Fails unless the call is refused with an error that says this."""
    try:
        found = call(*arguments, **options)
    except Exception as error:
        assert text in texts(error), f"refused with {texts(error)!r}, not {text!r}"
        return
    assert not inspect.isawaitable(found), "await it with refused_async"
    raise AssertionError(f"was not refused: {found!r}")


async def refused_async(text, coroutine):
    """Like refused, for a coroutine."""
    try:
        found = await coroutine
    except Exception as error:
        assert text in texts(error), f"refused with {texts(error)!r}, not {text!r}"
        return
    raise AssertionError(f"was not refused: {found!r}")


def address():
    """Host and port of the endpoint that the program was given."""
    host, port = sys.argv[1].removeprefix("http://").rsplit(":", 1)
    return host, int(port)
