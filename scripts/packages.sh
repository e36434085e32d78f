# Sourced by quickstart and run-tests: the Debian packages that Virga needs, and how to install what is missing.

packages_build="g++ cmake ninja-build libfmt-dev nlohmann-json3-dev libtomlplusplus-dev libcli11-dev zlib1g-dev libzstd-dev libboost-dev libssl-dev libarchive-dev nettle-dev liblzma-dev libbz2-dev"
packages_data="dataset-fashion-mnist"
packages_test="libgtest-dev libgmock-dev libbenchmark-dev clang-format python3 python3-numpy python3-scipy python3-sklearn liblinear-tools zstd curl procps openssl python3-boto3 redis-server memcached swift-proxy swift-account swift-container swift-object"
packages_full="clang clang-tidy libclang-rt-14-dev"

# install_packages NAME...: installs those that are missing, as root or through sudo; says so when neither is possible.
install_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These Debian packages are missing: ${missing[*]}" >&2
      echo "  Run this as root, or install them and run it again." >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update -q &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
       >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "The packages could not be installed (above: the end of apt's output)." >&2
    return 1
  fi
  rm -f "$log"
}

# build_jobs: how many compilers at once: one for each core, but no more than one for each 1.5 GB of memory.
build_jobs() {
  local by_memory
  by_memory=$(awk '/MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  local cores
  cores=$(nproc)
  [ "$by_memory" -lt 1 ] && by_memory=1
  [ "$cores" -lt "$by_memory" ] && echo "$cores" || echo "$by_memory"
}

# install_npm_packages: what tests/npm/package-lock.json names, if it is not there already. A node that somebody installed
# otherwise than from Debian will do.
install_npm_packages() {
  { command -v node && command -v npm; } >/dev/null || install_packages nodejs npm
  local installed=tests/npm/node_modules/.package-lock.json
  [ -f "$installed" ] && [ ! tests/npm/package-lock.json -nt "$installed" ] && return 0
  echo "Installing npm packages of tests/npm"
  npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund --loglevel=error
}
