#include "tools/holdfast/completion.h"

namespace holdfast::cli {

std::string_view bash_completion() {
  return R"sh(# bash completion for holdfast
_holdfast() {
  local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local words="" command="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      volume|log|status|doctor|completion|create|list|show|delete|follow|consumers|drop) command="$command ${COMP_WORDS[i]}" ;;
    esac
  done
  case "$previous" in
    --token-file|--device|--pgdata|--root) compopt -o default; COMPREPLY=(); return ;;
    --size|--log-size) COMPREPLY=($(compgen -W "1GiB 10GiB 100GiB 256MiB" -- "$word")); return ;;
    --server|--name) return ;;
    --payload-dir) compopt -o default; COMPREPLY=(); return ;;
    --volume) COMPREPLY=($(compgen -W "$(holdfast volume list --names 2>/dev/null)" -- "$word")); return ;;
    --from) COMPREPLY=($(compgen -W "oldest now" -- "$word")); return ;;
  esac
  case "$command" in
    "") words="volume log status doctor completion --server --token-file --json --help --version" ;;
    " volume") words="create list show delete --help" ;;
    " volume create") words="--size --log-size --device --help" ;;
    " volume list") words="--names --help" ;;
    " volume show") words="$(holdfast volume list --names 2>/dev/null) --help" ;;
    " volume delete") words="$(holdfast volume list --names 2>/dev/null) --yes --force --help" ;;
    " log") words="follow consumers drop --help" ;;
    " log follow") words="--volume --name --from --payload-dir --once --skip-gaps --help" ;;
    " log consumers") words="--volume --help" ;;
    " log drop") words="--volume --name --help" ;;
    " doctor") words="--volume --pgdata --lease-ms --root --all --help" ;;
    " completion") words="bash" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _holdfast holdfast
)sh";
}

}  // namespace holdfast::cli
