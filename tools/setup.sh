#!/bin/sh
# Makes this computer ready to build and boot Wakeful; `tools/setup.sh test`: to test it as well.
#
# It installs what is missing if it may (apt-get, as root or with a sudo that does not ask), and
# otherwise prints the command to type. It leaves in target/wakeful/
#   ready-run, ready-test   stamps; while they are valid, nothing is looked for again
#   toolchain.env           shell lines that select the Rust toolchain, if not the usual one
#   qemu10/                 for tests on Debian 12: a newer QEMU, unpacked and not installed
set -eu
cd "$(dirname "$0")/.."

purpose=${1:-run}
work=target/wakeful
stamp=$work/ready-$purpose
target=riscv64gc-unknown-none-elf
u_boot=/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- Nothing to do? The stamp holds the folder of the target's libraries.

if [ -f "$stamp" ] && [ -n "$(find "$stamp" -newer tools/setup.sh)" ]; then
    read -r libraries <"$stamp"
    # shellcheck source=/dev/null
    . "$work/toolchain.env"
    if [ -d "$libraries" ] && have cargo && have cc && have qemu-system-riscv64; then
        exit 0
    fi
fi

# --- Packages of the distribution.

# What QEMU starts first on every machine; it lies in one of QEMU's own folders.
have_opensbi() {
    for folder in "$(dirname "$(command -v qemu-system-riscv64)")/../share/qemu" /usr/share/qemu; do
        [ -e "$folder/opensbi-riscv64-generic-fw_dynamic.bin" ] && return 0
    done
    return 1
}

missing_parts() {
    have cc || echo cc
    if ! have qemu-system-riscv64; then
        echo qemu opensbi
    elif ! have_opensbi; then
        echo opensbi
    fi
    # Only Debian and its relatives put U-Boot where configs/qemu-virt-uboot.toml expects it.
    if [ "$purpose" = test ] && have apt-get && ! [ -e "$u_boot" ]; then
        echo u-boot
    fi
}

# The package of one part ($2) in one family of distributions ($1).
package() {
    case $1-$2 in
        debian-cc) echo gcc libc6-dev ;;
        # Since Debian 13 and Ubuntu 24.10 RISC-V has a package of its own.
        debian-qemu) apt-cache show qemu-system-riscv >/dev/null 2>&1 && echo qemu-system-riscv || echo qemu-system-misc ;;
        debian-opensbi) echo opensbi ;;
        debian-u-boot) echo u-boot-qemu ;;
        debian-ip) echo iproute2 ;;
        debian-curl | debian-wrk | debian-mosquitto) echo "$2" ;;
        debian-dosfstools | debian-mtools | debian-fdisk | debian-e2fsprogs) echo "$2" ;;
        debian-ab) echo apache2-utils ;;
        debian-ping) echo iputils-ping ;;
        debian-dnsmasq) echo dnsmasq-base ;;
        # Ubuntu has it as a snap only.
        debian-chromium) if apt-cache show chromium >/dev/null 2>&1; then echo chromium; fi ;;
        fedora-cc | arch-cc) echo gcc ;;
        fedora-qemu) echo qemu-system-riscv ;;
        fedora-ip) echo iproute ;;
        fedora-curl | fedora-wrk | fedora-dnsmasq | fedora-mosquitto | fedora-chromium) echo "$2" ;;
        fedora-dosfstools | fedora-mtools | fedora-e2fsprogs) echo "$2" ;;
        fedora-fdisk) echo util-linux ;;
        fedora-ab) echo httpd-tools ;;
        fedora-ping | arch-ping) echo iputils ;;
        arch-qemu) echo qemu-system-riscv ;;
        arch-opensbi) echo qemu-system-riscv-firmware ;;
        arch-ip) echo iproute2 ;;
        arch-curl | arch-wrk | arch-dnsmasq | arch-mosquitto | arch-chromium) echo "$2" ;;
        arch-dosfstools | arch-mtools | arch-e2fsprogs) echo "$2" ;;
        arch-fdisk) echo util-linux ;;
        arch-ab) echo apache ;;
        brew-cc) echo gcc ;;
        brew-qemu) echo qemu ;;
        # The others are for networks that only Linux has.
        brew-curl | brew-wrk | brew-mosquitto | brew-dosfstools | brew-mtools | brew-e2fsprogs) echo "$2" ;;
    esac
}

packages() {
    family=$1
    shift
    for part in "$@"; do package "$family" "$part"; done | tr '\n' ' ' | sed 's/ *$//'
}

# Runs a command as root, if that is possible without a question.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_updated=
apt_update() {
    have apt-get && as_root true 2>/dev/null || return 1
    if [ -z "$apt_updated" ]; then
        as_root apt-get -q update >&2 || return 1
        apt_updated=yes
    fi
}

apt_install() {
    apt_update || return 1
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >&2
}

# What tests on a network need; a test whose part is missing is ignored, with the reason.
wanted_parts() {
    have ip || echo ip
    have curl || echo curl
    have wrk || echo wrk
    have ab || echo ab
    have ping || echo ping
    have dnsmasq || echo dnsmasq
    have mosquitto || echo mosquitto
    have chromium || echo chromium
    have_system mkfs.vfat || echo dosfstools
    have mcopy || echo mtools
    have_system sfdisk || echo fdisk
    have_system mkfs.ext4 || echo e2fsprogs
}

# Programs for disks are where only root looks for them.
have_system() {
    have "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

missing=$(missing_parts)
if [ -n "$missing" ]; then
    say "missing:" $missing
    # shellcheck disable=SC2046,SC2086
    apt_install $(packages debian $missing) || true
    missing=$(missing_parts)
fi
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    cat >&2 <<END
setup: still missing: $(echo $missing), and this script may not install it. Please type
  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install $(packages debian $missing)
  Fedora:          sudo dnf install $(packages fedora $missing)
  Arch:            sudo pacman -S $(packages arch $missing)
  macOS:           brew install $(packages brew $missing)
and repeat.
END
    exit 1
fi

# One by one: what a distribution lacks must not keep the rest away.
if [ "$purpose" = test ]; then
    wanted=$(wanted_parts)
    [ -z "$wanted" ] || apt_update || true
    for part in $wanted; do
        package=$(package debian "$part")
        if [ -n "$package" ] && apt_install "$package"; then
            say "installed $package"
        else
            names=
            for family in debian fedora arch brew; do names="$names $family: $(package $family "$part");"; done
            say "no $part, so tests that need it will be ignored (packages:$names)"
        fi
    done
fi

# --- Rust for the machine.

mkdir -p "$work"

# Prints the folder of the target's libraries if they are there.
target_libraries() {
    libraries=$(rustc --print target-libdir --target $target 2>/dev/null)
    [ -d "$libraries" ] && echo "$libraries"
}

# Debian's Rust for browsers is kept recent. It has no libraries for the target, but their source,
# and no linker.
debian_rust() {
    have apt-get || return 1
    lld=$(apt-cache search --names-only '^lld-[0-9]+$' | sed 's/ .*//' | sort -t- -k2 -n | tail -1)
    [ -n "$lld" ] || return 1
    say "installing Debian's rustc-web, cargo-web, rust-web-src and $lld instead"
    apt_install rustc-web cargo-web rust-web-src "$lld" || return 1
    mkdir -p "$work/bin"
    ln -sf "$(command -v "$lld")" "$work/bin/rust-lld"
    cat >"$work/toolchain.env" <<END
# Debian's Rust, which compiles core and alloc from source. Written by tools/setup.sh.
export PATH="$PWD/$work/bin:/usr/bin:\$PATH"
export RUSTC_BOOTSTRAP=1
export WAKEFUL_BUILD_STD=core,alloc
END
    # shellcheck source=/dev/null
    . "$work/toolchain.env"
    libraries=$(rustc --print sysroot)/lib/rustlib/src/rust/library
    [ -d "$libraries" ] && say "cargo by hand needs the lines of $work/toolchain.env and -Zbuild-std=core,alloc"
}

echo '# The usual Rust toolchain will do.' >"$work/toolchain.env"
if ! target_libraries >/dev/null && have rustup; then
    say "adding the Rust target $target"
    rustup target add $target >&2 || say "rustup could not add it"
fi
if ! have cargo || ! libraries=$(target_libraries); then
    say "there is no Rust with the target $target"
    if ! debian_rust; then
        say "please install Rust by https://rustup.rs, then type: rustup target add $target"
        exit 1
    fi
fi

# --- Miri, which needs a nightly Rust. Without one, tests under Miri are left out.

if [ "$purpose" = test ] && have rustup && rustup toolchain list | grep -q '^nightly' &&
    ! cargo +nightly miri --version >/dev/null 2>&1; then
    say "adding Miri to the nightly Rust"
    rustup component add --toolchain nightly miri rust-src >&2 || say "rustup could not add it"
fi

# --- A newer QEMU, for tests of a CPU that older ones cannot play. Without it these tests are
# ignored.

qemu_major() {
    "$1" --version | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p'
}

# Downloads QEMU's packages from the backports of this Debian, without installing them.
unpack_newer_qemu() {
    have apt-get && have dpkg-deb || { echo "this is no Debian"; return 1; }
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        awk -v codename="$codename" '$2 == codename { print $1; exit }')
    [ -n "$mirror" ] || { echo "apt-get knows no mirror of this distribution"; return 1; }
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $keys ] || { echo "it has no backports as Debian has"; return 1; }
    apt=$PWD/$work/apt
    rm -rf "$apt" "$work/qemu10"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    echo "deb [signed-by=$keys] $mirror $codename-backports main" >"$apt/sources.list"
    options="-qq -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086 All that has modules: for a missing one QEMU would try, and fail, to
    # load the one of the installed QEMU.
    (cd "$apt" && apt-get $options update && apt-get $options download \
        qemu-system-riscv qemu-system-common qemu-system-data qemu-system-gui qemu-block-extra \
        qemu-system-modules-opengl qemu-system-modules-spice) 2>&1 || return 1
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$work/qemu10" || return 1; done
    rm -rf "$apt"
    "$work/qemu10/usr/bin/qemu-system-riscv64" --version 2>&1
}

if [ "$purpose" = test ] && [ "$(qemu_major qemu-system-riscv64)" -lt 9 ] &&
    ! [ -x $work/qemu10/usr/bin/qemu-system-riscv64 ]; then
    if message=$(unpack_newer_qemu); then
        say "unpacked a newer QEMU into $work/qemu10"
    else
        rm -rf $work/qemu10
        say "no newer QEMU, so tests that need one will be ignored: $message"
    fi
fi

# --- The tools themselves: `cargo wakeful` builds them without a word, which takes too long the
# first time.

say "building the tools"
cargo build --target host-tuple --package wakeful-tools >&2

echo "$libraries" >"$stamp"
