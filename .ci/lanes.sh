# What .ci/run and .ci/thorough share. They start a lane alongside, go on with their own, and finish with the output of the
# first and what failed. Nothing that fails ends a lane, and no process outlives the script.
work=$(mktemp -d)
trap '[ -z "${alongside:-}" ] || { kill -- "-$alongside" && wait "$alongside"; } 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

attempt() { "$@" || printf '%s\n' "$*" >>"$work/failed"; }

# thorough BACKENDS OPTION...: tests of these backends, in one process.
thorough() {
    local code=0
    step "thorough tests: $1"
    # Threads that wait sleep: where other processes take the cores, spinning multiplies PyTorch's time by five.
    SKLEARN_GLN_BACKENDS="$1" OMP_WAIT_POLICY=passive python -m pytest -p no:cacheprovider "${@:2}" || code=$?
    if [ "$code" -ne 0 ] && ! { [ "$code" -eq 5 ] && [ -n "${PYTEST_ADDOPTS:-}" ]; }; then # 5: none of the tests chosen
        printf 'thorough tests: %s\n' "$1" >>"$work/failed"
    fi
}

# Compiling for tests, which compute little.
quickly() { XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" "$@"; }

frameworks() {
    local framework
    for framework in "$@"; do
        quickly thorough "$framework" --thorough -m backend
    done
    step "frameworks done"
}

# moves FRAMEWORK...: models that move from one framework to another.
moves() {
    [ $# -lt 2 ] || quickly thorough "$(IFS=, && printf %s "$*")" --thorough \
        -k "moves_between_backends and not numpy and not numba" tests/test_backends.py
}

# start COMMAND...: alongside, as a process group.
start() {
    set -m
    "$@" </dev/null >"$work/alongside" 2>&1 &
    alongside=$!
    set +m
}

finish() {
    wait "$alongside" || printf 'the lane alongside\n' >>"$work/failed"
    alongside=
    cat "$work/alongside"
    step "done"
    if [ -s "$work/failed" ]; then
        printf 'failed:\n' >&2
        sed 's/^/    /' "$work/failed" >&2
        exit 1
    fi
}
