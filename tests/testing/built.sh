# Sourced by commands that run what Bazel builds. They need no terminal, no standard input, no HOME and no particular
# folder. LOCKSTEP_OUTPUT_BASE: Bazel's --output_base.

export PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
export USER=${USER:-$(id -un 2>/dev/null || echo uid"$(id -u)")}

# bazel_here ARGUMENT...: Bazel, with its output where it is to be.
bazel_here() {
  local startup=()
  [[ -n ${LOCKSTEP_OUTPUT_BASE:-} ]] && startup+=("--output_base=$LOCKSTEP_OUTPUT_BASE")
  # Bazel keeps its output below HOME; where that is not to be had, it needs another place.
  if [[ -z ${HOME:-} || ! -w $HOME ]]; then
    startup+=("--output_user_root=${XDG_CACHE_HOME:-/tmp}/lockstep-bazel-$(id -u)")
  fi
  bazel "${startup[@]}" "$@" </dev/null
}

# built TARGET [FLAG...]: builds it, and prints the folder of what was built (Bazel's bazel-bin).
built() {
  local target=$1
  shift
  # A caller's command substitution switches `set -e` off: what was built before must not pass for what was not.
  bazel_here build "$@" "$target" >&2 || return
  bazel_here info "$@" bazel-bin 2>/dev/null
}

# built_programs FOLDER: builds the three programs and copies them into FOLDER, unless LOCKSTEP_BIN_DIR has them already.
built_programs() {
  local folder=${LOCKSTEP_BIN_DIR:-} program
  if [[ -z $folder ]]; then
    folder=$(built //:programs) || return
  fi
  for program in server/lockstep-server worker/trainer/lockstep-worker deploy/ctl/lockstepctl; do
    [[ -e $folder/$program ]] || program=${program##*/}
    cp "$folder/$program" "$1/"
  done
}
