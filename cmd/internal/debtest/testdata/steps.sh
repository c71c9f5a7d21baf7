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

# Users attach addresses: in the sandbox there is a portal, and a database for it; root adds to that.
portal='
	use IO::Socket::INET;
	alarm 30;
	my $s;
	select undef, undef, undef, 0.1 until $s = IO::Socket::INET->new("127.0.0.1:8080");
	print $s "GET /addresses HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n";
	print "the portal answers\n" if <$s> =~ m,^HTTP/1.1 [23],;
'
cat portal.conf >/etc/gatemilter/gatemilter.conf
systemctl restart gatemilter
perl -e "$portal" >>notes
echo hunter2 | gatemilter identities add alice@example.com alice@partner.example \
	--server '[2001:db8::25]:587' --password-file - --untested
until test -s /var/lib/gatemilter/identities.snapshot; do sleep 0.1; done
stat -c '%U:%G %a %n' /var/lib/gatemilter /var/lib/gatemilter/identities.db /var/lib/gatemilter/identities.snapshot >>notes
gatemilter identities list | tail -n +2 >>notes
gatemilter route --user alice@example.com alice@partner.example | sed -n 's/^Way  */in force: /p' >>notes
journalctl --sync
journalctl -q -o cat SYSLOG_IDENTIFIER=gatemilter | sed -n 's/^identity added.*/in the journal: identity added/p' >>notes
gatemilter doctor --no-network | sed -n 's/^  ok  *\(database\|passwords\) .*/ok \1/p' >>notes

systemctl disable gatemilter
install ./last.deb
echo "disabled, upgraded: $(systemctl is-enabled gatemilter)" >>notes

apt-get -y remove gatemilter
echo "removed: $(show ActiveState), $(show Result)" >>notes
apt-get -y purge gatemilter
touch done
systemctl exit 0
