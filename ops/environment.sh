# Sourced by ops/dev and ops/test, in the directory of the project.
# Where Python may write no bytecode beside sources, it goes into .venv: without any, each process compiles all that it
# imports, which takes longer than its work in most tests.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX="$PWD/.venv/bytecode"
fi
