package dns

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// udpSize is how large a datagram servers may send, so that it is not fragmented
// on the way.
const udpSize = 1232

var (
	errNotOurs   = errors.New("its answer is not to our question, or is no DNS message")
	errTruncated = errors.New("its answer is truncated by TCP too")
)

// An exchange asks a server once, by "udp" or "tcp". The reply is one to that
// question, or the error is errNotOurs.
type exchange func(ctx context.Context, network, server string, q question) (*miekg.Msg, error)

// overNetwork is the exchange with real servers. Every query has a socket of its own,
// and so a port that the kernel chooses at random, and a random id (RFC 5452, section
// 9.2).
func overNetwork(ctx context.Context, network, server string, q question) (*miekg.Msg, error) {
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })()

	conn := &miekg.Conn{Conn: socket, UDPSize: udpSize}
	query := new(miekg.Msg).SetQuestion(q.name+".", q.typ)
	query.SetEdns0(udpSize, false)
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	octets, err := conn.ReadMsgHeader(nil)
	if errors.Is(err, miekg.ErrShortRead) {
		return nil, errNotOurs
	} else if err != nil {
		return nil, err
	}
	return q.parse(octets, query.Id)
}

// parse reads a reply. That must be the reply to the query with this id and question
// (RFC 5452, section 9.1), but may say that the server failed.
func (q question) parse(octets []byte, id uint16) (*miekg.Msg, error) {
	reply := new(miekg.Msg)
	if err := reply.Unpack(octets); err != nil || !reply.Response || reply.Id != id || len(reply.Question) != 1 {
		return nil, errNotOurs
	}
	asked := reply.Question[0]
	if asked.Qclass != miekg.ClassINET || asked.Qtype != q.typ || !strings.EqualFold(asked.Name, q.name+".") {
		return nil, errNotOurs
	}
	return reply, nil
}

// askServer returns a reply that says whether the name exists, or the reason why
// there is none. What came by UDP and isn't the whole answer may also be forged, so
// in both cases TCP is next, where none but the server can answer.
func (r *resolver) askServer(ctx context.Context, server string, q question) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	reply, err := r.exchange(ctx, "udp", server, q)
	if errors.Is(err, errNotOurs) || err == nil && reply.Truncated {
		reply, err = r.exchange(ctx, "tcp", server, q)
	}
	switch {
	case err != nil:
		return nil, err
	case reply.Truncated:
		return nil, errTruncated
	case reply.Rcode != miekg.RcodeSuccess && reply.Rcode != miekg.RcodeNameError:
		return nil, refusal(reply.Rcode)
	case reply.Rcode == miekg.RcodeSuccess && len(reply.Answer) == 0 && !reply.RecursionAvailable && !reply.Authoritative:
		return nil, errReferral
	}
	return reply, nil
}

// errReferral says that a server neither knows nor asks others. It is not the lack of
// a record.
var errReferral = errors.New("it does not recurse")

// A refusal is the response code of a server that does not say whether the name exists.
type refusal int

func (code refusal) Error() string {
	if name, ok := miekg.RcodeToString[int(code)]; ok {
		return "it answers " + name
	}
	return "it answers with the response code " + strconv.Itoa(int(code))
}

// cause is an error without the addresses of the two ends: reports of it reach
// strangers.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// attempts is how often a server is asked that does not answer: datagrams get lost.
const attempts = 2

// askServers asks one server after the other, until one knows. Those that answer
// that they don't are asked but once.
func (r *resolver) askServers(ctx context.Context, q question) answer {
	failed := q.unknown("no server was asked")
	servers := r.servers
	for range attempts {
		var silent []string
		for _, server := range servers {
			reply, err := r.askServer(ctx, server, q)
			if err == nil {
				return q.read(reply)
			}
			failed = q.unknown("the name server fails: " + cause(err).Error())
			var trouble net.Error
			if errors.As(err, &trouble) {
				failed.err.IsTimeout = trouble.Timeout()
				silent = append(silent, server)
			}
		}
		servers = silent
	}
	return failed
}
