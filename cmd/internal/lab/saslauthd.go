package lab

import (
	"encoding/binary"
	"io"
	"net"
	"time"
)

// A saslauthd is saslauthd(8) for a server with Cyrus SASL, to which every password is right.
type saslauthd struct{ listener net.Listener }

// startSaslauthd listens on a unix socket.
func startSaslauthd(path string) (*saslauthd, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	s := &saslauthd{l}
	go s.accept()
	return s, nil
}

func (s *saslauthd) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go answerSaslauthd(conn)
	}
}

// answerSaslauthd reads a query, which is four strings (user, password, service, realm), and says yes. A string has its
// length before it.
func answerSaslauthd(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(ioLimit))
	for range 4 {
		var length uint16
		if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, conn, int64(length)); err != nil {
			return
		}
	}
	conn.Write([]byte("\x00\x02OK"))
}

func (s *saslauthd) stop() error { return s.listener.Close() }
