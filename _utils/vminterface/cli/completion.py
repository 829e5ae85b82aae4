"""The command ``vminterface completion``: what a shell needs so that it completes this command.

Each shell's part is short: it hands the words to ``vminterface completion words``, which knows them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]

BASH = r"""# Completion of vminterface for bash, as `vminterface completion bash` prints it.
_vminterface() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' breaks='' prefix='' kind word rest
    local -a words
    read -r -a words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local current=${words[${#words[@]}-1]}
    COMPREPLY=()
    # Readline takes what stands behind these for a word of its own.
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
    [[ $breaks && $current == *[$breaks]* ]] && prefix=${current%"${current##*[$breaks]}"}
    {
        IFS= read -r kind
        while IFS=$'\t' read -r word rest; do COMPREPLY+=("${word#"$prefix"}"); done
    } < <("${words[0]}" completion words -- "${words[@]:1}" 2>/dev/null)
    case $kind in
        files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        dirs) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        *) [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:=] ]] && compopt -o nospace ;;
    esac
}
complete -F _vminterface vminterface
"""

ZSH = r"""#compdef vminterface
# Completion of vminterface for zsh, as `vminterface completion zsh` prints it.
_vminterface() {
    local -a lines whole whole_shown open open_shown
    local line word
    lines=("${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    case $lines[1] in
        files) _files; return ;;
        dirs) _files -/; return ;;
    esac
    for line in "${(@)lines[2,-1]}"; do
        word=${line%%$'\t'*}
        line=${line/$'\t'/  -- }
        if [[ $word == *[=:] ]]; then
            open+=("$word") open_shown+=("$line")
        else
            whole+=("$word") whole_shown+=("$line")
        fi
    done
    (( $#whole )) && compadd -l -d whole_shown -a whole
    (( $#open )) && compadd -l -S '' -d open_shown -a open
}
if [[ $funcstack[1] == _vminterface ]]; then
    _vminterface "$@"
else
    compdef _vminterface vminterface
fi
"""

FISH = r"""# Completion of vminterface for fish, as `vminterface completion fish` prints it.
function __vminterface_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($words[1] completion words -- $words[2..-1] "$current" 2>/dev/null)
    switch "$lines[1]"
        case files
            __fish_complete_path "$current"
        case dirs
            __fish_complete_directories "$current"
        case '*'
            set -q lines[2]; and printf '%s\n' $lines[2..-1]
    end
end
complete -c vminterface -f -a '(__vminterface_complete)'
"""

#: What each shell reads.
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add(command: Command) -> None:
    """Add the command to those of the command line; the default ``parser`` of its options is the whole of that."""
    completion = command("completion", _completion, "Print the completion of this command for a shell.")
    completion.add_argument("shell", choices=(*SCRIPTS, "words"), help="words: what that calls, by itself")
    completion.add_argument("words", nargs="*", metavar="WORD", help="of words: those behind the command's name")


def words_of(argv: Sequence[str]) -> Sequence[str] | None:
    """Return the words that are to be completed if *argv* asks for that, as no parser would hand over their dashes."""
    return argv[3:] if [*argv[:3]] == ["completion", "words", "--"] else None


def _completion(options: argparse.Namespace) -> int:
    if options.shell in SCRIPTS:
        print(SCRIPTS[options.shell], end="")
        return DONE
    return print_words(options.parser, options.words)


def print_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Print what the last of *words* may become: the kind of it, and a line for each with what it does."""
    from vminterface.cli import candidates

    found = candidates.find(parser, words)
    lines = [found.kind, *(f"{word}\t{does}" if does else word for word, does in found.words.items())]
    print("".join(f"{line}\n" for line in lines), end="")
    return DONE
