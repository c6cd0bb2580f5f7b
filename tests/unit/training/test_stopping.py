import signal
import threading

import pytest

from rankwright.training.stopping import stop_signals
from tests.unit.training.tiny_job import deliver


def test_first_signal_is_a_request_and_raised_at_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = False
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop:
        assert not stop.requested
        deliver(signal.SIGTERM)
        assert stop.requested
        assert signal.getsignal(signal.SIGTERM) is before
        reached = True
    assert reached


def test_second_signal_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals():
        deliver(signal.SIGINT)
        deliver(signal.SIGINT)
        raise AssertionError("the second signal did nothing")


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_thread_trains_without_signal_handlers() -> None:
    requested = []

    def work() -> None:
        with stop_signals() as stop:
            requested.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [False]
