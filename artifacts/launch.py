"""A script for POSIX shells that starts one command several times, each with its share of the host.

Nothing of a bundle becomes code: its settings are those of `NeuronServing`, names and values, and every word is quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from artifacts.cores import Cores, cores_text, shares
from artifacts.errors import Problem, UsageError
from artifacts.neuron_serving import NUM_CORES, VISIBLE_CORES, NeuronServing

BUNDLE = "UNSPOOL_BUNDLE"
INSTANCE = "UNSPOOL_INSTANCE"


def neuron_script(bundle: Path, command: Sequence[str], serving: NeuronServing) -> str:
    """Instances with their NeuronCores each. Raises UsageError for a command that cannot be one."""
    before = []
    if serving.cores_each is not None:
        before.append(f"unset {VISIBLE_CORES} {NUM_CORES} # the first would decide over the second")
    before += [f"export {name}={shlex.quote(value)}" for name, value in sorted(serving.settings.items())]
    run = _cases([_assigned(settings) for settings in serving.own_settings])
    run += [f"export {VISIBLE_CORES}"] if run else []
    return _script(bundle, command, serving.instances, "its NeuronCores", before, [*run, "set --"])


def cpu_script(bundle: Path, command: Sequence[str], instances: int, cores: Cores = ()) -> str:
    """Instances with their share of some cores each, or of all that the script may use.

    Raises UsageError for a command that cannot be one, or for more instances than cores.
    """
    if cores and instances > len(cores):
        message = f"there are {len(cores)} cores for {instances} instances"
        raise UsageError.of("launch", f"--cores {cores_text(cores)}", message, "give one core each, or leave it out")
    run = ["cores='' threads=1"]
    if cores:
        run = _cases(
            [_assigned({"cores": cores_text(share), "threads": str(len(share))}) for share in shares(cores, instances)]
        )
    run += [*(() if cores else _HOST_SHARE), *_ON_CORES]
    return _script(bundle, command, instances, "its processors", () if cores else _HOST_CORES, run)


_SUPERVISION = """
pids=
signals=0
stopped=
forward() {
	signals=$((signals + 1))
	for pid in $pids; do
		kill -s "$1" "$pid" 2>/dev/null
	done
}
# A shell starts what it does not wait for with INT and QUIT ignored, so those are told as TERM.
trap 'stopped=1; forward TERM' TERM INT QUIT
trap 'forward HUP' HUP
trap 'forward USR1' USR1
trap 'forward USR2' USR2

number=0
while [ "$number" -lt "$instances" ] && [ -z "$stopped" ]; do
	run "$number" &
	pids="$pids $!"
	number=$((number + 1))
done
# A signal may have come between a start and the line that notes it.
[ -z "$stopped" ] || forward TERM

status=0
number=0
for waited in $pids; do
	ended=127
	while :; do
		before=$signals
		wait "$waited"
		found=$?
		# A signal ends the wait, and then it is waited again: 127 is the answer where all was said before.
		[ "$found" -eq 127 ] || ended=$found
		[ "$signals" -ne "$before" ] || break
	done
	pids=${pids#" $waited"}
	if [ "$ended" -ne 0 ]; then
		echo "instance $number ended with status $ended" >&2
		[ "$status" -ne 0 ] || status=$ended
	fi
	number=$((number + 1))
done
exit "$status"
"""

_HOST_CORES = (
    "# The processors that this script may use, one a line; without taskset only how many there are.",
    "usable() {",
    "\ttaskset -cp $$ | sed 's/.*: *//' | tr ',' '\\n' | while IFS=-: read -r first last step; do",
    '\t\tseq "$first" "${step:-1}" "${last:-$first}"',
    "\tdone",
    "}",
    "if command -v taskset >/dev/null; then",
    "\tprocessors=$(usable)",
    '\tcount=$(echo "$processors" | wc -l)',
    "else",
    "\tprocessors=",
    "\tcount=$(getconf _NPROCESSORS_ONLN)",
    "fi",
)

_HOST_SHARE = (
    "begin=$((count * $1 / instances)) end=$((count * ($1 + 1) / instances))",
    'if [ "$end" -gt "$begin" ]; then # or else there are more instances than processors',
    "\tthreads=$((end - begin))",
    '\tcores=$(echo "$processors" | sed -n "$((begin + 1)),${end}p" | paste -sd , -)',
    "fi",
)

_ON_CORES = (
    'export UNSPOOL_THREADS="$threads" OMP_NUM_THREADS="$threads"',
    "set --",
    'if [ -n "$cores" ] && command -v taskset >/dev/null; then',
    '\tset -- taskset -c "$cores"',
    "fi",
)
"""The threads of Unspool's sessions, and those of what takes OpenMP's word, as torch does."""


def _script(
    bundle: Path, command: Sequence[str], instances: int, share: str, before: Sequence[str], run: Sequence[str]
) -> str:
    """The script; `before` are lines ahead of all instances, `run` those within each.

    The number of the instance is `$1` there, and they leave the words that go ahead of the command as arguments.
    """
    _check(command)
    return "\n".join(
        (
            "#!/bin/sh",
            f"# Starts {instances} of one command over a bundle, each with {share}, and waits for all of them.",
            "# It fails as the first of them that failed. Written by unspool launch.",
            "set -u",
            "",
            f"export {BUNDLE}={shlex.quote(str(bundle))}",
            f"instances={instances}",
            *before,
            "",
            "# Becomes instance number $1.",
            "run() {",
            f'\texport {INSTANCE}="$1"',
            *(f"\t{line}" for line in run),
            "\t# shellcheck disable=SC2016 # what a word says is the command's",
            f'\texec "$@" {shlex.join(command)}',
            "}",
            _SUPERVISION,
        )
    )


def _assigned(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


def _cases(assignments: Sequence[str]) -> list[str]:
    """Lines that make the assignments of the instance whose number is the first argument."""
    if not any(assignments):
        return []
    return ["case $1 in", *(f"{number}) {text} ;;" for number, text in enumerate(assignments)), "esac"]


def _check(command: Sequence[str]) -> None:
    """Raises UsageError unless a shell can hand on these words and take the first one for a program."""
    problems = [
        Problem("launch", repr(word), "has a null character, which no program can be given", "leave it out")
        for word in command
        if "\0" in word
    ]
    if not command or not command[0]:
        problems.append(Problem("launch", "COMMAND", "is missing", "name it after --, as in -- python serve.py"))
    elif command[0].startswith("-"):
        hint = f"write ./{command[0]} for a file of that name"
        problems.append(Problem("launch", command[0], "is an option, where a command is to be", hint))
    UsageError.raise_if(problems)
