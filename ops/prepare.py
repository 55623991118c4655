"""Make .venv and install taskflow with the extras given, once: `python3 ops/prepare.py embedded`.

Only the standard library is needed. What was installed is remembered by a hash of the files that say what to install,
so that a second start does not wait for pip.
"""

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DESCRIBED_BY = ("setup.cfg", "setup.py", "pyproject.toml")


def main(extras: list[str]) -> None:
    stamp = VENV / f".installed-{'-'.join(extras)}"
    if is_current(stamp):
        return
    if importlib.util.find_spec("ensurepip") is None and not PYTHON.exists():
        sys.exit("error: this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv")
    try:
        VENV.mkdir(exist_ok=True)
        lock = (VENV / ".lock").open("a")
    except OSError as error:
        sys.exit(f"error: cannot write to {VENV}: {error.strerror}")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # started twice at once: the second waits and finds all done
        if not is_current(stamp):
            make_venv()
            install(extras)
            stamp.write_text(fingerprint())


def is_current(stamp: Path) -> bool:
    try:
        return stamp.read_text() == fingerprint() and PYTHON.exists()
    except OSError:
        return False


def fingerprint() -> str:
    """What the installation depends on, the place included: a moved checkout has to be installed again."""
    described = hashlib.sha256(f"{ROOT} {sys.version}".encode())
    for name in DESCRIBED_BY:
        described.update((ROOT / name).read_bytes())
    return described.hexdigest()


def make_venv() -> None:
    # An interrupted start may have left one without pip.
    if run([PYTHON, "-m", "pip", "--version"]) != 0 and (code := run([sys.executable, "-m", "venv", VENV])) != 0:
        sys.exit(f"error: python -m venv {VENV} failed with exit code {code}")


def install(extras: list[str]) -> None:
    print("Installing into .venv; this is needed once.", flush=True)
    # Python compiles what is imported: to compile everything would take as long as the rest of the installation.
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    code = subprocess.call([*command, "--editable", f".[{','.join(extras)}]"], cwd=ROOT, env=environment)
    if code != 0:
        sys.exit(f"error: pip could not install taskflow (exit code {code}); what it said is above")


def run(command: list[object]) -> int:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    except OSError:
        return 127


if __name__ == "__main__":
    main(sys.argv[1:])
