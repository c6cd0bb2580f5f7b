"""How training is told to stop: the step is done, its state saved, then it ends.

In: signals. Out: `StopRequest`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the user, or the system, has asked training to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Take the first Ctrl-C or SIGTERM as a request to stop after the step; a second one ends the process at once.

    Yields:
        The request; never made outside the main thread, where Python allows no signal handlers.

    Raises:
        KeyboardInterrupt: at the end, if there was a request and nothing else was raised.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number in signals:
            signal.signal(number, before[number])

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        restore()

    for number in signals:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()
    if stop.requested:  # after the last step
        raise KeyboardInterrupt
