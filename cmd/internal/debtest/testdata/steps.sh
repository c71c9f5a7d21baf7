# What an administrator does with the package where systemd runs. What he sees is put into files.
cd /steps
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root
perl -e 'use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); $up = pack("a16 s x22", "lo", 1); ioctl(S, 0x8914, $up) or die' || exit

show() { systemctl show -P "$1" gatemilter; }
install() { apt-get -q -y --no-install-recommends install "$@"; }
socket() { stat -c '%U:%G %a' /var/spool/postfix/gatemilter/milter.sock; }
note() { echo "$1: $(show ActiveState), $(socket), $(show NRestarts) restarts by systemd"; }

install ./first.deb
note 'without Postfix' >notes

install /var/cache/apt/archives/*.deb
note 'Postfix installed' >>notes

before=$(show MainPID)
install ./later.deb
note 'upgraded' >>notes
test "$(show MainPID)" != "$before" && echo 'it is another process' >>notes

systemctl disable gatemilter
install ./last.deb
echo "disabled, upgraded: $(systemctl is-enabled gatemilter)" >>notes

apt-get -y remove gatemilter
echo "removed: $(show ActiveState), $(show Result)" >>notes
apt-get -y purge gatemilter
touch done
systemctl exit 0
