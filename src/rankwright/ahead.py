"""Work done ahead of the one who asks for it, in threads.

In: a function and its arguments. Out: what it gives for each, in order.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def work_ahead(work: Callable[[In], Out], items: Sequence[In], *, count: int = 1) -> Generator[Out]:
    """What `work` gives for each item, the next ones made in threads while the caller is at the last.

    Args:
        work: lets other threads run for most of its time, as tokenizers and engines do.
        items: its arguments; a single one is worked on in the caller's thread.
        count: items begun ahead, in as many threads; 0: none, all is done in the caller's thread.

    Yields:
        In the order of `items`; an error of `work` is raised at its item.
    """
    if len(items) == 1 or count == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(count) as pool:
        begun: deque[Future[Out]] = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > count:
                yield begun.popleft().result()
        yield from (future.result() for future in begun)
