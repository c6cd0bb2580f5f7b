"""With HF_HUB_OFFLINE=1, import and a first answer open no socket, look up no name, start no child, write nothing.

Watched from outside the process by strace, which no library can escape, and from inside by an audit hook, which runs
where strace is not installed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_foreign import build_foreign

ENCODE = """
import sys
from rankwright import BiEncoder, CrossEncoder
print(BiEncoder(sys.argv[1], engine=sys.argv[3]).encode(["a text", "another"]).shape)
print(CrossEncoder(sys.argv[2], engine=sys.argv[3]).predict([("a query", "a document")]).shape)
"""

AUDIT = """
import os, sys
LOG = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
HOME = os.environ["HOME"]
CHILD = ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
MAKE = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink")

def hook(event, args):
    if event.startswith("socket.") or event in CHILD:
        os.write(LOG, f"{event} {args!r}\\n".encode())
    elif event == "open" and str(args[0]).startswith(HOME):
        if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(LOG, f"open for writing {args[0]!r}\\n".encode())
    elif event in MAKE and str(args[0]).startswith(HOME):
        os.write(LOG, f"{event} {args!r}\\n".encode())

sys.addaudithook(hook)
"""

NETWORK_FAMILIES = ("AF_INET", "AF_INET6", "AF_NETLINK")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """A plain environment: no cache folders named, offline."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    source = str(Path(__file__).parents[2] / "src")
    return {**kept, "PYTHONPATH": source, "HOME": str(home), "HF_HUB_OFFLINE": "1", **more}


def audited(code: str, arguments: list[str], home: Path) -> list[str]:
    """What the audit hook saw of a fresh process that runs the code, and what it left in its home folder."""
    hooks = home.parent / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(AUDIT)
    log = home.parent / "audit.log"
    env = environment(home, AUDIT_LOG=str(log))
    env["PYTHONPATH"] = f"{hooks}{os.pathsep}{env['PYTHONPATH']}"
    run(["-c", code, *arguments], env)
    assert log.exists(), "the audit hook was not installed"
    return log.read_text().splitlines() + left_in(home)


def traced(code: str, arguments: list[str], home: Path) -> list[str]:
    """The forbidden system calls of a fresh process and all its children, by strace, and what it left in its home."""
    log = home.parent / "strace.log"
    calls = (
        "socket,connect,sendto,sendmsg,bind,vfork,fork,clone,clone3,execve,openat,creat,mkdir,mkdirat,rename,renameat2"
    )
    tracer = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-e", f"trace={calls}"]
    run(["-c", code, *arguments], environment(home), tracer)
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines[1:] if is_forbidden(line, home)] + left_in(home)


def is_forbidden(line: str, home: Path) -> bool:
    """Whether a line of strace shows a socket, a child process, or a file under the home folder opened for writing."""
    call = re.sub(r"^\d+ +", "", line)
    if "/nscd/socket" in call:  # the C library asks the name of the user, for torch; host names show in other calls too
        return False
    if call.startswith(("connect(", "sendto(", "sendmsg(", "bind(", "execve(", "fork(", "vfork(")):
        return True
    if call.startswith("socket("):
        return any(family in call for family in NETWORK_FAMILIES)
    if call.startswith(("clone(", "clone3(")):
        return "CLONE_THREAD" not in call
    if call.startswith("openat(") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", call):
        return False
    return call.startswith(("openat(", "creat(", "mkdir", "rename")) and f'"{home}' in call


def run(arguments: list[str], env: dict[str, str], tracer: list[str] | None = None) -> None:
    """Runs Python on the arguments, below the tracer if one is given."""
    done = subprocess.run([*(tracer or []), sys.executable, *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def left_in(home: Path) -> list[str]:
    """Files and folders that the home folder holds."""
    return [f"left {path}" for path in sorted(home.rglob("*"))]


WATCHERS = [
    pytest.param(audited, id="audit-hook"),
    pytest.param(
        traced, id="strace", marks=pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    ),
]


@pytest.mark.parametrize("watch", WATCHERS)
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_import_and_first_answer_touch_neither_network_nor_home(watch: Any, engine: str, tiny: Any, home: Path) -> None:
    folders = [str(tiny.bi_encoder("bert")), str(tiny.cross_encoder("bert"))]
    assert watch(ENCODE, [*folders, engine], home) == []


@pytest.mark.parametrize("watch", WATCHERS)
def test_models_that_transformers_runs_touch_neither_network_nor_home(watch: Any, tiny: Any, home: Path) -> None:
    reranker = tiny.built(build_foreign, "albert", head="ForSequenceClassification", config={"num_labels": 1})
    folders = [str(tiny.built(build_foreign, "albert")), str(reranker)]
    online = "import os; del os.environ['HF_HUB_OFFLINE']\n"  # a folder asks the Hub nothing, forbidden or not
    assert watch(online + ENCODE, [*folders, "torch"], home) == []


OFFENCES = {
    "socket": "import socket; s = socket.socket(); s.settimeout(0.01); s.connect_ex(('127.0.0.1', 9))",
    "name": "import socket\ntry: socket.getaddrinfo('rankwright.invalid', 80)\nexcept OSError: pass",
    "child": "import subprocess; subprocess.run(['true'])",
    "fork": "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
    "home": "import pathlib; (pathlib.Path.home() / 'kept').write_text('x')",
    "home and gone": "import pathlib; p = pathlib.Path.home() / 'gone'; p.write_text('x'); p.unlink()",
}


@pytest.mark.parametrize("watch", WATCHERS)
@pytest.mark.parametrize("offence", OFFENCES)
def test_the_watchers_see_each_offence(watch: Any, offence: str, home: Path) -> None:
    assert watch(OFFENCES[offence], [], home) != []


def test_tests_cannot_reach_the_network(refused_connections: list[str]) -> None:
    with pytest.raises(RuntimeError, match="may not use the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.01)
    with pytest.raises(RuntimeError, match="may not use the network"):
        socket.create_connection(("127.0.0.1", 9), timeout=0.01)
    assert refused_connections
    refused_connections.clear()


@pytest.mark.loopback
def test_a_marked_test_may_use_the_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()
