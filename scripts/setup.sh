# Sourced by scripts/test and scripts/bench: goes to the root of the repository and installs what is missing from the
# distribution (Debian 12, Ubuntu 24.04). When nothing is missing it only looks.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the build and the tests need: a package, and a command that succeeds if what the package brings is there.
required() {
    cat <<'END'
build-essential       command -v cc && command -v c++
cmake                 command -v cmake
ninja-build           command -v ninja
pkg-config            command -v pkg-config
libcmocka-dev         pkg-config --exists cmocka
libopenblas0-pthread  ldconfig -p | grep 'libopenblas\.so\.0'
python3               command -v python3
END
}

# What some of the tests need, which say that they are skipped where it is missing.
wanted() {
    cat <<'END'
clang-format-14       command -v clang-format-14 || clang-format --version | grep 'version 14\.'
clang-19              command -v clang++-19
lld-19                command -v ld.lld-19
clang-tools-19        command -v clang-offload-bundler-19
llvm-19               command -v llvm-readelf-19
opencl-headers        echo '#include <CL/cl.h>' | cc -E -
ocl-icd-libopencl1    ldconfig -p | grep 'libOpenCL\.so\.1'
pocl-opencl-icd       ldconfig -p | grep 'libpocl\.so\.2'
mesa-opencl-icd       ldconfig -p | grep 'libRusticlOpenCL\.so\.1'
oclgrind              test -e /usr/lib/oclgrind/liboclgrind-rt-icd.so
libclblast1           ldconfig -p | grep 'libclblast\.so\.1'
python3-matplotlib    for p in python3 /usr/bin/python3; do $p -c 'import matplotlib' && exit; done; false
END
}

# missing_of LIST: its packages that are not there.
missing_of() {
    local package probe
    while read -r package probe; do
        PATH="$PATH:/usr/sbin:/sbin" bash -c "$probe" >/dev/null 2>&1 || echo "$package"
    done < <("$1")
}

install_missing() {
    local needed desired package as_root=()
    mapfile -t needed < <(missing_of required)
    mapfile -t desired < <(missing_of wanted)
    [ $((${#needed[@]} + ${#desired[@]})) -eq 0 ] && return
    echo "installing: ${needed[*]} ${desired[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "this system has no apt-get; install what these Debian packages hold, then run this again" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "this needs root or sudo; or install these packages, then run this again" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
    "${as_root[@]}" apt-get update
    [ ${#needed[@]} -eq 0 ] || "${install[@]}" "${needed[@]}"
    for package in "${desired[@]}"; do
        "${install[@]}" "$package" || echo "could not install $package; what needs it will be skipped" >&2
    done
}

install_missing
