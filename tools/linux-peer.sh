#!/bin/sh
# Unpacks Linux and nginx for riscv64 from Debian's packages, without installing them: the peer that
# `cargo wakeful bench` measures beside `http`. It needs apt and a network, not root, and is done once.
#
# It leaves in target/wakeful/linux/
#   kernel   for QEMU's -kernel
#   root/    what is in the machine's memory when it starts: busybox, nginx, their libraries, and
#            `init`, which prepares the network and starts nginx
#   versions the packages, a line each; written last
# If it cannot, the last line on stderr says why.
set -eu
cd "$(dirname "$0")/.."

work=$PWD/target/wakeful/linux
suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg
# Linux and nginx, and whatever nginx loads.
packages="busybox-static nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g"
# In the order in which they are loaded.
modules="virtio_mmio failover net_failover virtio_net"

say() { printf '%s\n' "$*" >&2; }
give_up() {
    say "$*"
    exit 1
}

# Nothing to do?
[ -f "$work/versions" ] && [ -n "$(find "$work/versions" -newer tools/linux-peer.sh)" ] && exit 0

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [ -e $keys ] || give_up "it comes from Debian's packages, and this is no Debian"
# The mirror that this computer uses already.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == codename { print $1; exit }')
[ -n "$mirror" ] || give_up "apt-get knows no mirror of this distribution"

rm -rf "$work"
apt=$work/apt
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$work/root"
echo "deb [arch=riscv64 signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
options="-qq -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=- \
    -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt -o APT::Sandbox::User=$(id -un) \
    -o APT::Architectures=$(dpkg --print-architecture),riscv64 \
    -o Acquire::Languages=none -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20"
# shellcheck disable=SC2086
{
    timeout 60 apt-get $options update >&2 || give_up "apt-get cannot read the list of $suite's packages for riscv64"
    # The package of this name only depends on the one that has the newest kernel.
    kernel=$(apt-cache $options depends linux-image-riscv64:riscv64 | sed -n 's/.*Depends: \(linux-image-[^: ]*\).*/\1/p' | head -1)
    [ -n "$kernel" ] || give_up "$suite has no linux-image-riscv64"
    (cd "$apt" && timeout 200 apt-get $options download $(for package in $kernel $packages; do echo "$package:riscv64"; done) >&2) ||
        give_up "apt-get cannot download the packages"
}

# What apt has checked is unpacked. Of Linux, which has 4,000 modules, four.
for package in "$apt"/*.deb; do
    case $package in
        */linux-image-*)
            wanted=$(for module in $modules; do echo "*/$module.ko.xz"; done)
            # shellcheck disable=SC2086
            (cd "$apt" && dpkg-deb --fsys-tarfile "$package" | tar -x --wildcards './boot/vmlinu*' $wanted) ||
                give_up "$(basename "$package") has not the files that are expected"
            ;;
        *) dpkg-deb -x "$package" "$work/root" || give_up "cannot unpack $(basename "$package")" ;;
    esac
done
mv "$apt"/boot/vmlinu* "$work/kernel"

# What nobody reads there stays behind, and so do nginx' own settings.
cd "$work/root"
rm -rf etc usr/share usr/lib/riscv64-linux-gnu/gconv usr/lib/riscv64-linux-gnu/ossl-modules
mkdir -p dev proc sys run tmp etc/nginx var/log/nginx var/lib/nginx modules
for folder in bin lib sbin; do ln -s "usr/$folder" "$folder"; done
for module in $modules; do
    mv "$(find "$apt" -name "$module.ko.xz")" modules/ || give_up "there is no module $module"
done
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
    default_type text/plain;
    keepalive_requests 1000000000;
    server {
        listen 80 backlog=4096;
        location = /plaintext { return 200 "Hello, World!"; }
    }
}
END
cat >init <<END
#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin:/usr/sbin
mount -t devtmpfs none /dev
exec </dev/console >/dev/console 2>&1
mount -t proc none /proc
mount -t sysfs none /sys
for module in $modules; do
    unxz /modules/\$module.ko.xz && insmod /modules/\$module.ko
done
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
nginx &
until wget -q -O /dev/null http://127.0.0.1/plaintext 2>/dev/null; do sleep 0.1; done
echo "serving http://10.0.2.15:80/"
wait
END
chmod 755 init

(cd "$apt" && for package in *.deb; do echo "${package%.deb}"; done) >"$apt/versions"
mv "$apt/versions" "$work/versions"
