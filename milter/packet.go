package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	protocol "github.com/emersion/go-milter"
)

// The length that precedes a packet, and the command letter.
const (
	lengthSize  = 4
	commandSize = 1
)

// codeUnknown is SMFIC_UNKNOWN, an SMTP command that the MTA does not know.
const codeUnknown protocol.Code = 'U'

// codeAddWithArgs is SMFIR_ADDRCPT_PAR, which adds a recipient with ESMTP parameters.
const codeAddWithArgs protocol.Code = '2'

// Limits of what an MTA may send in one packet, by command, the letter
// included. The MTAs themselves limit a command line to 2 KiB, a header field
// to 100 KiB (Postfix) and a piece of a body to 64 KiB.
const (
	maxOffer     = 1 << 10
	maxCommand   = 64 << 10
	maxField     = 1 << 20
	maxBodyPiece = 1 << 20
	maxArgs      = 100
)

// packetLimit returns the longest packet of a command, or 0 if there is no such
// command.
func packetLimit(c protocol.Code) uint32 {
	switch c {
	case protocol.CodeOptNeg:
		return maxOffer
	case protocol.CodeMacro:
		return maxMacroBytes
	case protocol.CodeHeader:
		return maxField
	case protocol.CodeBody:
		return maxBodyPiece
	case protocol.CodeConn, protocol.CodeHelo, protocol.CodeMail, protocol.CodeRcpt,
		protocol.CodeData, protocol.CodeEOH, protocol.CodeEOB, protocol.CodeAbort,
		protocol.CodeQuit, protocol.CodeQuitNewConn, codeUnknown:
		return maxCommand
	}
	return 0
}

// checkPacket judges a packet by its length and command.
func checkPacket(length uint32, c protocol.Code) error {
	limit := packetLimit(c)
	if limit == 0 {
		return fmt.Errorf("unknown command %q", rune(c))
	}
	if length > limit {
		return fmt.Errorf("packet of %d octets for command %q, limit %d", length, rune(c), limit)
	}
	return nil
}

func appendPacket(b []byte, c protocol.Code, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(commandSize+len(data)))
	return append(append(b, byte(c)), data...)
}

var nul = []byte{0}

// cutString takes a string that ends in NUL from the front of data.
func cutString(data []byte) (s string, rest []byte, err error) {
	head, rest, ok := bytes.Cut(data, nul)
	if !ok {
		return "", nil, fmt.Errorf("string %.100q does not end in NUL", data)
	}
	return string(head), rest, nil
}

// parseName reads the argument of HELO, a single string.
func parseName(data []byte) (string, error) {
	name, rest, err := cutString(data)
	if err == nil && len(rest) > 0 {
		err = errors.New("more than one string")
	}
	return name, err
}

// parsePeer reads the arguments of CONNECT: name, family, and but for the
// family "unknown" port and address.
func parsePeer(data []byte) (Peer, error) {
	name, rest, err := cutString(data)
	if err != nil {
		return Peer{}, err
	}
	if len(rest) == 0 {
		return Peer{}, errors.New("address family is missing")
	}
	p := Peer{Name: name}
	switch family := protocol.ProtoFamily(rest[0]); family {
	case protocol.FamilyUnknown:
		return p, nil
	case protocol.FamilyUnix:
		// The port of a unix socket is 0. Not every MTA sends it; no path
		// starts with NUL.
		p.Path, err = parseName(bytes.TrimPrefix(rest[1:], []byte{0, 0}))
		return p, err
	case protocol.FamilyInet, protocol.FamilyInet6:
		p.Addr, err = parseAddrPort(rest[1:], family == protocol.FamilyInet6)
		return p, err
	default:
		return Peer{}, fmt.Errorf("unknown address family %q", rune(family))
	}
}

func parseAddrPort(data []byte, v6 bool) (netip.AddrPort, error) {
	if len(data) < 2 {
		return netip.AddrPort{}, errors.New("port is missing")
	}
	port := binary.BigEndian.Uint16(data)
	text, err := parseName(data[2:])
	if err != nil {
		return netip.AddrPort{}, err
	}
	// Sendmail writes an IPv6 address as in an address literal (RFC 5321,
	// section 4.1.3), Postfix without the tag.
	const tag = "IPv6:"
	if v6 && len(text) > len(tag) && strings.EqualFold(text[:len(tag)], tag) {
		text = text[len(tag):]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("client address %.100q: not an IP address", text)
	}
	if addr.Is6() != v6 {
		return netip.AddrPort{}, fmt.Errorf("client address %q is not of the family that goes with it", text)
	}
	return netip.AddrPortFrom(addr.WithZone("").Unmap(), port), nil
}

// parseEnvelope reads the arguments of MAIL and RCPT: the address and ESMTP
// parameters.
func parseEnvelope(data []byte) (Envelope, error) {
	raw, rest, err := cutString(data)
	if err != nil {
		return Envelope{}, err
	}
	e := Envelope{Address: raw, Raw: raw}
	if n := len(raw); n >= 2 && raw[0] == '<' && raw[n-1] == '>' {
		e.Address = raw[1 : n-1]
	}
	for len(rest) > 0 {
		var arg string
		if arg, rest, err = cutString(rest); err != nil {
			return Envelope{}, err
		}
		if len(e.Args) == maxArgs {
			return Envelope{}, fmt.Errorf("more than %d parameters", maxArgs)
		}
		e.Args = append(e.Args, arg)
	}
	return e, nil
}

// parseField reads the arguments of HEADER, exactly two strings.
func parseField(data []byte) (name, value string, err error) {
	text := string(data)
	name, rest, ok := strings.Cut(text, "\x00")
	value, more, ok2 := strings.Cut(rest, "\x00")
	if !ok || !ok2 || more != "" {
		return "", "", errors.New("header field that is not two strings")
	}
	if name == "" {
		return "", "", errors.New("header field without a name")
	}
	return name, value, nil
}
