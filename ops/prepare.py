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
PIP = (PYTHON, "-m", "pip")
ENVIRONMENT = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
QUIET = ("--quiet", "--disable-pip-version-check")
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
            print("Installing into .venv: this is needed once, and takes about half a minute.", flush=True)
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
    if run([*PIP, "--version"]) != 0 and (code := run([sys.executable, "-m", "venv", VENV])) != 0:
        sys.exit(f"error: python -m venv {VENV} failed with exit code {code}")


def install(extras: list[str]) -> None:
    # The pip that comes with Python may be years old: 24.0 took 54 s for what 26.3 does in 36. If there is no newer one
    # to be had, it does.
    run([*PIP, "install", *QUIET, "--retries", "0", "--upgrade", "pip"])
    # Python compiles what is imported: to compile everything would take as long as the rest of the installation.
    # What pip warns of, an index that does not answer, is shown; what building an editable package warns of is not.
    command = [*PIP, "install", *QUIET, "--no-compile", "--editable", f".[{','.join(extras)}]"]
    code = subprocess.call(command, cwd=ROOT, env={**ENVIRONMENT, "PYTHONWARNINGS": "ignore"})
    if code != 0:
        sys.exit(f"error: pip could not install taskflow (exit code {code}); what it said is above")


def run(command: list[object]) -> int:
    """The exit code of a command of which nobody needs to know what it says."""
    try:
        return subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    except OSError:
        return 127


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: the next start installs the rest")
