#!/bin/sh
# Unpacks Linux and nginx for riscv64 from Debian's packages, without installing them: the peer that
# `cargo wakeful bench` measures beside `http`. It needs apt and a network, not root, and is done once.
#
#     tools/linux-peer.sh        Linux and nginx, 125 MB
#     tools/linux-peer.sh fio    and fio, which measures disks: 40 MB more
#
# It leaves in target/wakeful/linux/
#   kernel   for QEMU's -kernel
#   root/    what is in the machine's memory when it starts: busybox, nginx, their libraries, and
#            `init`, which prepares the network and starts nginx; with the boot argument `bench=blk`
#            it prepares the disk and starts fio, which finds its jobs in the file /jobs
#   versions the packages, a line each; written last
#   fio/     what is in memory as well where fio is to run: it, and the libraries that it loads
#   fio-versions
# If it cannot, the last line on stderr says why.
set -eu
cd "$(dirname "$0")/.."

work=$PWD/target/wakeful/linux
suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg
# Linux and nginx, and whatever nginx loads.
packages="busybox-static nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g"
# In the order in which they are loaded: for any device, for the network, for disks.
modules="virtio_mmio"
modules_net="failover net_failover virtio_net"
modules_blk="virtio_blk"

say() { printf '%s\n' "$*" >&2; }
give_up() {
    say "$*"
    exit 1
}

# Whether what this file ($1) lists is there, and from this script.
is_done() {
    [ -f "$work/$1" ] && [ -n "$(find "$work/$1" -newer tools/linux-peer.sh)" ]
}

# Nothing to do?
wanted=${1-nginx}
case $wanted in
    nginx) is_done versions && exit 0 ;;
    fio) is_done versions && is_done fio-versions && exit 0 ;;
    *) give_up "usage: tools/linux-peer.sh [fio]" ;;
esac

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [ -e $keys ] || give_up "it comes from Debian's packages, and this is no Debian"
# The mirror that this computer uses already.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == codename { print $1; exit }')
[ -n "$mirror" ] || give_up "apt-get knows no mirror of this distribution"

apt=$work/apt
options="-qq -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=- \
    -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt -o APT::Sandbox::User=$(id -un) \
    -o APT::Architectures=$(dpkg --print-architecture),riscv64 \
    -o Acquire::Languages=none -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20"

# apt's own folder, with a list of packages that is new. It goes in the end.
read_list() {
    rm -rf "$apt"
    trap 'rm -rf "$apt"' EXIT
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    echo "deb [arch=riscv64 signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
    # shellcheck disable=SC2086
    timeout 60 apt-get $options update >&2 || give_up "apt-get cannot read the list of $suite's packages for riscv64"
}

# Packages by name. apt checks them.
download() {
    # shellcheck disable=SC2046,SC2086
    (cd "$apt" && timeout 200 apt-get $options download $(for package in "$@"; do echo "$package:riscv64"; done) >&2) ||
        give_up "apt-get cannot download the packages"
}

# Writes the list ($1) of what has been unpacked.
finish() {
    (cd "$apt" && for package in *.deb; do echo "${package%.deb}"; done) >"$apt/versions"
    mv "$apt/versions" "$work/$1"
}

# --- Linux and nginx.

unpack_linux() {
    rm -rf "$work"
    mkdir -p "$work/root"
    read_list
    # The package of this name only depends on the one that has the newest kernel.
    # shellcheck disable=SC2086
    kernel=$(apt-cache $options depends linux-image-riscv64:riscv64 | sed -n 's/.*Depends: \(linux-image-[^: ]*\).*/\1/p' | head -1)
    [ -n "$kernel" ] || give_up "$suite has no linux-image-riscv64"
    # shellcheck disable=SC2086
    download "$kernel" $packages

    # Of Linux, which has 4,000 modules, five.
    all_modules="$modules $modules_net $modules_blk"
    for package in "$apt"/*.deb; do
        case $package in
            */linux-image-*)
                files=$(for module in $all_modules; do echo "*/$module.ko.xz"; done)
                # shellcheck disable=SC2086
                (cd "$apt" && dpkg-deb --fsys-tarfile "$package" | tar -x --wildcards './boot/vmlinu*' $files) ||
                    give_up "$(basename "$package") has not the files that are expected"
                ;;
            *) dpkg-deb -x "$package" "$work/root" || give_up "cannot unpack $(basename "$package")" ;;
        esac
    done
    mv "$apt"/boot/vmlinu* "$work/kernel"

    # What nobody reads there stays behind, and so do nginx' own settings.
    cd "$work/root"
    rm -rf etc usr/share usr/lib/riscv64-linux-gnu/gconv usr/lib/riscv64-linux-gnu/ossl-modules
    mkdir -p dev proc sys run tmp srv etc/nginx var/log/nginx var/lib/nginx modules
    for folder in bin lib sbin; do ln -s "usr/$folder" "$folder"; done
    for module in $all_modules; do
        mv "$(find "$apt" -name "$module.ko.xz")" modules/ || give_up "there is no module $module"
    done
    write_settings
    write_init
    finish versions
}

write_settings() {
    head -c 1000 /dev/zero | tr '\0' a >srv/short.txt
    head -c 1048576 /dev/zero | tr '\0' a >srv/long.txt
    cat >etc/passwd <<'END'
root:x:0:0:root:/:/bin/sh
END
    cat >etc/group <<'END'
root:x:0:
END
    cat >etc/nginx/nginx.conf <<'END'
user root root;
worker_processes 1;
daemon off;
error_log /dev/null;
events {
    worker_connections 4096;
}
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type text/plain;
    keepalive_requests 1000000000;
    server {
        listen 80 backlog=4096;
        location = /plaintext { return 200 "Hello, World!"; }
        location / { root /srv; }
    }
}
END
}

# What Linux starts. Of the boot arguments, those that Linux does not know are variables here.
write_init() {
    cat >init <<END
#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin:/usr/sbin
mount -t devtmpfs none /dev
exec </dev/console >/dev/console 2>&1
mount -t proc none /proc
mount -t sysfs none /sys
load() {
    for module in "\$@"; do unxz "/modules/\$module.ko.xz" && insmod "/modules/\$module.ko"; done
}
case \$bench in
    blk)
        load $modules $modules_blk
        # As little as possible between fio and the disk; and pages for buffers that are in one piece.
        cd /sys/block/vda/queue
        echo none >scheduler
        echo 2 >nomerges
        echo 0 >iostats
        echo 16 >/proc/sys/vm/nr_hugepages
        cd /run
        fio --minimal --eta=never --output=report /jobs
        code=\$?
        cat report
        echo "fio ended, \$code"
        poweroff -f
        ;;
    *)
        load $modules $modules_net
        ip link set lo up
        ip address add 10.0.2.15/24 dev eth0
        ip link set eth0 up
        nginx &
        until wget -q -O /dev/null http://127.0.0.1/plaintext 2>/dev/null; do sleep 0.1; done
        echo "serving http://10.0.2.15:80/"
        wait
        ;;
esac
END
    chmod 755 init
}

# --- fio. It is linked to clients of all kinds of storage, and does not start without any of them.

unpack_fio() {
    command -v readelf >/dev/null || give_up "what fio loads is found by readelf (Debian package binutils)"
    rm -rf "$work/fio" "$work/fio-versions"
    read_list
    # Half of these are for packages' scripts.
    # shellcheck disable=SC2086
    libraries=$(apt-cache $options depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances fio:riscv64 | sed -n 's/^\(\(lib\|zlib\)[^ ]*\):riscv64$/\1/p' | grep -v python | sort -u)
    [ -n "$libraries" ] || give_up "$suite has no fio"
    # shellcheck disable=SC2086
    download fio $libraries
    all=$apt/all
    for package in "$apt"/*.deb; do
        dpkg-deb -x "$package" "$all" || give_up "cannot unpack $(basename "$package")"
    done
    mkdir -p "$work/fio"
    take usr/bin/fio
    finish fio-versions
}

# Takes a file, and what it loads, and what that loads.
take() {
    install -D "$all/$1" "$work/fio/$1"
    for name in $(readelf -d "$all/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        # What nginx loads is there already.
        [ -z "$(find "$work/root/usr/lib" "$work/fio" -name "$name")" ] || continue
        library=$(cd "$all" && find . -name "$name" | head -1)
        [ -n "$library" ] || give_up "fio loads $name, and no package has it"
        take "${library#./}"
    done
}

is_done versions || unpack_linux
[ "$wanted" = nginx ] || is_done fio-versions || unpack_fio
