package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	protocol "github.com/emersion/go-milter"

	"gatemilter/milter/accept"
)

// A guard is the connection that the library's server sees. Its Read returns
// the packets that the library is to handle, and io.EOF when the connection is
// to end, for whatever reason: any other error the library would write to the
// standard logger.
type guard struct {
	*accept.Conn
	server *Server
	talk   conversation
	in     inbox
	// forward is what is left of the packet that the library reads.
	forward []byte
	// bodyLeft is what is still to come of a BODY packet.
	bodyLeft int
	// opened is when the connection came, and waiting since when the rest of a
	// packet has been waited for.
	opened, waiting time.Time
	// end is why the connection ends: io.EOF if nothing went wrong.
	end error
}

func newGuard(conn *accept.Conn, s *Server) *guard {
	g := &guard{Conn: conn, server: s, opened: time.Now()}
	g.talk = conversation{
		newSession: s.NewSession,
		report:     conn.Report,
		patience:   s.conns.Patience(),
		phase:      phaseOffer,
	}
	return g
}

// Read gives the library the next packet that it is to handle.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.forward) == 0 && g.end == nil {
		g.end = g.step()
	}
	if g.end != nil {
		return 0, io.EOF
	}
	n := copy(p, g.forward)
	g.forward = g.forward[n:]
	return n, nil
}

// step takes one packet, or a piece of one.
func (g *guard) step() error {
	if g.bodyLeft > 0 {
		return g.bodyPiece()
	}
	command, length, err := g.packetHead()
	if err != nil {
		return err
	}
	if command == protocol.CodeBody {
		g.talk.macros.begin(byte(command))
		g.in.take(lengthSize + commandSize)
		if g.bodyLeft = length - commandSize; g.bodyLeft == 0 {
			g.waiting = time.Time{}
			g.talk.endOfPiece()
		}
		return nil
	}
	if err := g.need(lengthSize + length); err != nil {
		return err
	}
	g.waiting = time.Time{}
	return g.packet(command, g.in.take(lengthSize+length))
}

// packetHead waits for the head of the next packet and judges it.
func (g *guard) packetHead() (protocol.Code, int, error) {
	if err := g.need(lengthSize + commandSize); err != nil {
		return 0, 0, err
	}
	head := g.in.peek(lengthSize + commandSize)
	length, command := binary.BigEndian.Uint32(head), protocol.Code(head[lengthSize])
	if length < commandSize {
		return 0, 0, errors.New("packet without a command")
	}
	if err := checkPacket(length, command); err != nil {
		return 0, 0, err
	}
	return command, int(length), g.talk.admit(command)
}

// packet hands on a packet that has arrived whole.
func (g *guard) packet(command protocol.Code, p []byte) error {
	if command == protocol.CodeMail && !g.SetBusy(true) {
		return io.EOF
	}
	forward, err := g.talk.handle(command, p[lengthSize+commandSize:])
	if err != nil {
		return fmt.Errorf("command %q: %w", rune(command), err)
	}
	if forward {
		g.forward = p
	}
	return nil
}

// bodyPiece hands on what has arrived of a BODY packet.
func (g *guard) bodyPiece() error {
	if err := g.need(1); err != nil {
		return err
	}
	piece := g.in.take(min(g.in.len(), g.bodyLeft))
	g.talk.body(piece)
	if g.bodyLeft -= len(piece); g.bodyLeft == 0 {
		g.waiting = time.Time{}
		g.talk.endOfPiece()
	}
	return nil
}

// need waits until n octets have arrived. Before it blocks, it sends what is to
// be sent.
func (g *guard) need(n int) error {
	for g.in.len() < n {
		if g.flush(); g.end != nil {
			return g.end
		}
		inMessage := g.talk.phase&phaseMessage != 0
		if !inMessage {
			g.in.rest()
		}
		if !g.SetBusy(inMessage) {
			return io.EOF
		}
		if err := g.SetReadDeadline(g.deadline()); err != nil {
			return g.lost(err)
		}
		if err := g.in.fill(g.Conn); err != nil {
			return g.lost(err)
		}
	}
	return nil
}

// deadline returns the time by which the next octets have to be there.
func (g *guard) deadline() time.Time {
	switch {
	case g.talk.phase == phaseOffer:
		return g.opened.Add(g.server.timeouts.Offer)
	case !g.inPacket():
		return time.Now().Add(g.server.timeouts.Idle)
	case g.waiting.IsZero():
		g.waiting = time.Now()
	}
	return g.waiting.Add(g.server.timeouts.Packet)
}

// inPacket says whether a packet has arrived in part.
func (g *guard) inPacket() bool { return g.in.len() > 0 || g.bodyLeft > 0 }

// lost says what it means that no more octets come.
func (g *guard) lost(err error) error {
	t := g.server.timeouts
	switch {
	case g.Draining():
		return io.EOF
	case !errors.Is(err, os.ErrDeadlineExceeded):
		if err == io.EOF && g.inPacket() {
			return errors.New("connection closed within a packet")
		}
		return err
	case g.talk.phase == phaseOffer:
		return fmt.Errorf("no option negotiation within %v", t.Offer)
	case g.inPacket():
		return fmt.Errorf("packet still incomplete after %v", t.Packet)
	}
	return fmt.Errorf("no packet for %v", t.Idle)
}

// Write keeps a packet of the library's until the next read. It does not fail:
// the library would log that; the next Read says so.
func (g *guard) Write(p []byte) (int, error) {
	g.talk.out = append(g.talk.out, p...)
	if g.talk.out.Full() {
		g.flush()
	}
	return len(p), nil
}

// flush sends the packets that wait.
func (g *guard) flush() {
	err := g.talk.out.Send(g.Conn, g.server.timeouts.Write)
	switch {
	case err == nil || g.end != nil:
	case g.Draining():
		g.end = io.EOF
	default:
		g.end = err
	}
}

// Close ends the connection and its session. The library calls it once, last of
// all.
func (g *guard) Close() error {
	g.flush()
	err := g.Conn.Close()
	g.talk.endSession()
	if g.end != nil && g.end != io.EOF {
		g.Report(g.end)
	}
	g.in.rest()
	g.Done()
	return err
}

// run lets the library serve the connection, in a goroutine of its own.
func (g *guard) run() { runLibrary(g, &g.talk) }
