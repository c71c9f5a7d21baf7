#!/bin/sh
# Makes the messages signed by other people's signers, and appends their public
# keys to keys.txt. Needs Debian's python3-dkim (dkimsign), opendkim-tools
# (opendkim-testmsg, which signs with SHA-1 only), libmail-dkim-perl
# (dkimproxy-sign) and openssl. The private keys are thrown away: to run this
# again, first delete these messages and their keys, then make all of them anew.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

openssl genrsa -out "$work/rsa.pem" 2048
openssl genpkey -algorithm ed25519 -outform DER -out "$work/ed25519.der"
tail -c 32 "$work/ed25519.der" | base64 >"$work/ed25519.key"
openssl pkey -in "$work/ed25519.der" -inform DER -pubout -outform DER | tail -c 32 | base64 >"$work/ed25519.pub"
openssl rsa -in "$work/rsa.pem" -pubout -outform DER | base64 -w0 >"$work/rsa.pub"
openssl rsa -in "$work/rsa.pem" -traditional | grep -v -- ----- >"$work/rsa.txt"

{
	echo "foreign._domainkey.example.org v=DKIM1; k=rsa; p=$(cat "$work/rsa.pub")"
	echo "edwards._domainkey.example.org v=DKIM1; k=ed25519; p=$(cat "$work/ed25519.pub")"
} >>keys.txt

sed 's/$/\r/' unsigned.eml >"$work/unsigned.eml"

# Messages are kept with LF; the tests put the CR back.
save() { tr -d '\r' >"messages/$1.eml"; }

for header in simple relaxed; do
	for body in simple relaxed; do
		dkimsign --hcanon $header --bcanon $body foreign example.org "$work/rsa.pem" <"$work/unsigned.eml" |
			save "dkimpy-$header-$body"
		dkimproxy-sign --method $header/$body --selector foreign --domain example.org --key "$work/rsa.txt" \
			--binary <"$work/unsigned.eml" >"$work/field"
		cat "$work/field" "$work/unsigned.eml" | save "mail-dkim-$header-$body"
	done
done
dkimsign --hcanon relaxed --bcanon simple --signalg ed25519-sha256 edwards example.org "$work/ed25519.key" \
	<"$work/unsigned.eml" | save dkimpy-ed25519
dkimsign --identity joe@sub.example.org foreign example.org "$work/rsa.pem" <"$work/unsigned.eml" | save dkimpy-subdomain
opendkim-testmsg -C -d example.org -s foreign -k "$work/rsa.pem" -t "$work" <"$work/unsigned.eml" | save opendkim-sha1
