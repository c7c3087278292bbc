# shellcheck shell=bash disable=SC2034
# What the scripts of tools/ share: packages, builds, certificates, free ports, counted tests. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(gcc libc6-dev meson ninja-build pkgconf libssl-dev libevent-dev libnghttp2-dev liblmdb-dev libc-ares-dev
    libidn2-dev libjansson-dev zlib1g-dev libbrotli-dev libzstd-dev python3)
site_packages=(nginx openssl python3)
test_packages=(curl gnutls-bin libcmocka-dev python3-pytest python3-pytest-xdist python3-h2 python3-cryptography nghttp2-client nghttp2-server knot nginx openssl python3)
tree_packages=(debootstrap)
check_packages=(clang clang-format clang-tidy shellcheck libcmocka-dev)

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# --- packages ---------------------------------------------------------------------------------------------------------

package_is_installed() {
    case "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" in
    installed) return 0 ;;
    *) return 1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# nginx and knot start as services when they are installed, which nobody asked for here. A policy-rc.d that refuses to start
# anything is what Debian offers against that; a machine that has one already keeps its own.
policy_file=/usr/sbin/policy-rc.d
policy_mark='# Put here by hotfleet for the time of one installation.'

services_hold() {
    [ -e "$policy_file" ] && ! grep -qF "$policy_mark" "$policy_file" && return 0
    say "refusing service starts with a temporary $policy_file during the installation"
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" | as_root install -m 755 /dev/stdin "$policy_file"
}

services_release() {
    if grep -qsF "$policy_mark" "$policy_file"; then
        as_root rm -f "$policy_file"
    fi
}

# Keeps a unit that this installation brought from starting at the next boot.
service_disable() {
    if command -v systemctl >/dev/null; then
        say "disabling the service $1, which came with its package"
        as_root systemctl --quiet disable "$1" >&2 || say "could not disable $1; it may start at the next boot"
    fi
}

packages_install_missing() {
    local package held=()
    for package in "$@"; do
        case $package in nginx | knot) held+=("$package") ;; esac
    done
    if ((${#held[@]})); then
        trap services_release EXIT
        services_hold
    fi
    as_root apt-get -q update || say 'apt-get update failed; trying with the lists that are here'
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" || return 1
    for package in "${held[@]}"; do
        service_disable "$package"
    done
}

# Installs those of the packages that are missing, and says so. Nothing is touched when all are there.
packages_need() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0
    for package in "$@"; do
        package_is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "packages are missing and this is neither root nor a user with sudo; as root: apt-get install ${missing[*]}"
    fi
    say "installing through apt: ${missing[*]}"
    # A subshell, so that its exit takes the temporary policy away whatever happens.
    (packages_install_missing "${missing[@]}") </dev/null >&2 || die "could not install: ${missing[*]}"
}

# --- builds -----------------------------------------------------------------------------------------------------------

# build_configure DIR [meson options]: sets DIR up, or brings an existing one to these options.
build_configure() {
    local dir=$root/$1 log verb=configure
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        verb=setup
    elif [ "$*" = "$(cat "$dir/.options" 2>/dev/null)" ]; then
        return 0
    fi
    if ! log=$(cd "$root" && meson "$verb" "$dir" "$@" 2>&1 </dev/null); then
        printf '%s\n' "$log" >&2
        say "could not configure $dir (delete it to start afresh)"
        return 1
    fi
    printf '%s' "$*" >"$dir/.options"
}

# build_make DIR [targets]: compiles, quiet unless something is wrong.
build_make() {
    local dir=$root/$1
    shift
    ninja --quiet -C "$dir" "$@" </dev/null >&2
}

# AddressSanitizer and UndefinedBehaviorSanitizer, both fatal at the first finding.
build_asan() {
    build_configure build-asan -Dbuildtype=debugoptimized -Dtests=true -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args=-fno-sanitize-recover=all && build_make build-asan
}

build_tsan() {
    build_configure build-tsan -Dbuildtype=debugoptimized -Dtests=true -Db_sanitize=thread -Db_lundef=false &&
        build_make build-tsan
}

# --- sites ------------------------------------------------------------------------------------------------------------

# free_ports N: N TCP ports of 127.0.0.1 that were free a moment ago, on one line.
free_ports() {
    /usr/bin/python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))' "$1"
}

# certificate_make DIR SAN: DIR/ca.pem, and a certificate of that authority in DIR/site.pem with its key in DIR/site.key.
# SAN as openssl writes it: "DNS:a.test,IP:127.0.0.1". P-256, good for two days.
certificate_make() {
    local dir=$1 san=$2
    local p256=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    {
        openssl req -x509 "${p256[@]}" -days 2 -subj '/CN=hotfleet test authority' -keyout "$dir/ca.key" -out "$dir/ca.pem" &&
            openssl req "${p256[@]}" -subj '/CN=hotfleet test site' -keyout "$dir/site.key" -out "$dir/site.csr" &&
            printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n' \
                >"$dir/site.ext" &&
            printf 'subjectAltName=%s\n' "$san" >>"$dir/site.ext" &&
            openssl x509 -req -in "$dir/site.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
                -extfile "$dir/site.ext" -out "$dir/site.pem"
    } </dev/null >"$dir/openssl.log" 2>&1 || {
        cat "$dir/openssl.log" >&2
        die 'openssl could not make the certificates'
    }
}

# port_wait PORT PID: returns when 127.0.0.1:PORT accepts, fails when PID is gone or 10 s have passed.
port_wait() {
    local turn
    for ((turn = 0; turn < 200; turn++)); do
        kill -0 "$2" 2>/dev/null || return 1
        (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.05
    done
    return 1
}

# --- counted tests ----------------------------------------------------------------------------------------------------

# junit_count FILE: "PASSED FAILED SKIPPED" of a JUnit report; fails when there is none to read.
junit_count() {
    /usr/bin/python3 -c '
import sys, xml.etree.ElementTree as tree
passed = failed = skipped = 0
for case in tree.parse(sys.argv[1]).iter("testcase"):
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        failed += 1
    elif "skipped" in kinds:
        skipped += 1
    else:
        passed += 1
print(passed, failed, skipped)' "$1" 2>/dev/null
}
