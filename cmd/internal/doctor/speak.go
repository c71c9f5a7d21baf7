package doctor

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	protocol "github.com/emersion/go-milter"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy/config"
)

// A Socket is one of gatemilter's, with the protocol that is spoken there.
type Socket struct {
	// Key is that of [server] which names it: milter or lookup.
	Key string
	config.Listener
}

func (s Socket) String() string { return s.Key + " " + s.Listener.String() }

// ParseSocket reads KEY=LISTENER, as "milter=unix:/run/milter.sock".
func ParseSocket(text string) (Socket, error) {
	key, at, _ := strings.Cut(text, "=")
	network, address, ok := strings.Cut(at, ":")
	if network == "inet" {
		network = "tcp"
	}
	if conversations[key] == nil || !ok || network != "unix" && network != "tcp" {
		return Socket{}, fmt.Errorf("%q is no socket: write milter=unix:PATH, or lookup=inet:ADDRESS:PORT", text)
	}
	return Socket{key, config.Listener{Network: network, Address: address}}, nil
}

// Argument writes a socket as ParseSocket takes it.
func (s Socket) Argument() string { return s.Key + "=" + s.Listener.String() }

// patience is how long a socket has for its answer.
const patience = 10 * time.Second

// Try connects to a socket and speaks its protocol, without asking for anything that
// would matter. It returns what the other side has shown of itself.
func Try(ctx context.Context, s Socket) (answer string, err error) {
	conn, err := dial(ctx, s)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conversations[s.Key](conn)
}

func dial(ctx context.Context, s Socket) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, s.Network, s.Address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

var conversations = map[string]func(net.Conn) (string, error){"milter": milterNegotiation, "lookup": lookupQuestion}

// What a mail server offers in the option negotiation: the latest version, all changes to
// messages, and no step spared.
const (
	milterVersion = 6
	milterActions = 0x1ff
)

// maxAnswer bounds an answer to the negotiation: three numbers, and lists of macros.
const maxAnswer = 16 << 10

var errNotMilter = errors.New("what listens there does not speak milter")

// milterNegotiation is the beginning of a milter connection, SMFIC_OPTNEG, and its end.
func milterNegotiation(conn net.Conn) (string, error) {
	offer := make([]byte, 0, 12)
	for _, n := range []uint32{milterVersion, milterActions, 0} {
		offer = binary.BigEndian.AppendUint32(offer, n)
	}
	if _, err := conn.Write(packet(protocol.CodeOptNeg, offer)); err != nil {
		return "", silent(err)
	}
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return "", silent(err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if protocol.Code(head[4]) != protocol.CodeOptNeg || length < 1+12 || length > maxAnswer {
		return "", errNotMilter
	}
	answer := make([]byte, length-1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return "", silent(err)
	}
	_, err := conn.Write(packet(protocol.CodeQuit, nil))
	return fmt.Sprintf("answers, milter version %d", binary.BigEndian.Uint32(answer)), err
}

func packet(c protocol.Code, data []byte) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(data)))
	return append(append(p, byte(c)), data...)
}

func silent(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("what listens there takes connections, but gave no answer in %s", patience)
	}
	return fmt.Errorf("what listens there has closed the connection: %w", err)
}

// harmless is a sender whom nobody has (RFC 2606).
const harmless = "doctor@gatemilter.invalid"

var errNotLookup = errors.New("what listens there does not speak the socketmap protocol")

// lookupQuestion asks the table of routes (socketmap_table(5)).
func lookupQuestion(conn net.Conn) (string, error) {
	request := daemon.TableRoute + " " + harmless
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(request), request); err != nil {
		return "", silent(err)
	}
	in := bufio.NewReaderSize(conn, 16)
	digits, err := in.ReadSlice(':')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errNotLookup
	}
	if err != nil {
		return "", silent(err)
	}
	length, err := strconv.ParseUint(string(digits[:len(digits)-1]), 10, 14)
	if err != nil {
		return "", errNotLookup
	}
	reply := make([]byte, length+1)
	if _, err := io.ReadFull(in, reply); err != nil {
		return "", silent(err)
	}
	status, text, _ := strings.Cut(string(reply[:length]), " ")
	switch status {
	case "OK", "NOTFOUND":
		return "answers, socketmap", nil
	case "TEMP":
		return "", fmt.Errorf("it answers with a temporary failure: %q", text)
	}
	return "", errNotLookup
}
