package debtest

// Debian's minimal system has a Perl with sockets, and little else to speak with a server.

// negotiation begins a milter session (SMFIC_OPTNEG, version 6) and prints the command of the answer, which is "O".
const negotiation = `
use Socket;
alarm 30;
socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
connect($s, sockaddr_un($ARGV[0])) or die "connect: $!\n";
syswrite $s, pack("N a N N N", 13, "O", 6, 0x1ff, 0);
my $n = read($s, my $answer, 5);
die "no answer\n" unless $n == 5;
print substr($answer, 4);
`

// ask is what the daemon answers to a user of the system.
func (d *debian) ask(user string) (string, error) {
	cmd := d.command(append(asUser(user), "perl", "-e", negotiation, socket)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// smtpSession starts Postfix, sends it the lines that are its
// arguments, and prints the replies. Postfix ends with it.
const smtpSession = `set -e
postconf -e inet_protocols=ipv4 inet_interfaces=loopback-only mydestination=example.com local_recipient_maps= \
	smtpd_authorized_xclient_hosts=127.0.0.1 smtpd_peername_lookup=no smtpd_relay_restrictions=reject_unauth_destination
postfix start > /dev/null 2>&1
perl -e '
	use IO::Socket::INET;
	alarm 60;
	my $s = IO::Socket::INET->new("127.0.0.1:25") or die "port 25: $!\n";
	sub reply { while (<$s>) { tr/\r//d; print; last if /^\d\d\d / } }
	reply();
	for (@ARGV) { print $s "$_\r\n"; reply() }
' -- "$@"
`
