"""What a number was measured on: without it a speed says nothing."""

import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]

FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)
"""The instructions that decide which compute types are fast."""

PACKAGES = (
    "rankwright",
    "torch",
    "triton",
    "openvino",
    "tokenizers",
    "numpy",
    "sentence-transformers",
    "transformers",
    "optimum-intel",
    "onnxruntime",
    "fastembed",
)


def machine() -> dict[str, object]:
    """CPU, cores, the instructions that matter, memory and system."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cpu_family": fields.get("cpu family", ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        **({"gpu": found} if (found := gpu()) else {}),
    }


def gpu() -> str:
    """The first NVIDIA GPU and its driver; an empty text where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name, _, driver = (done.stdout.splitlines() or [""])[0].partition(", ")
    return f"{name} (driver {driver})" if driver else ""


def versions(python: Path) -> dict[str, str]:
    """Python's and the packages' versions in the environment of that interpreter."""
    code = "from bench import machine; import json; print(json.dumps(machine.own_versions()))"
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def own_versions() -> dict[str, str]:
    """The versions in this process's environment."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
