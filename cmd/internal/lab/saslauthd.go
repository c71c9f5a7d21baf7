package lab

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"time"
)

// A saslauthd is saslauthd(8) for a server with Cyrus SASL.
type saslauthd struct {
	listener net.Listener
	// logins are the passwords by user name; nil: every password is right.
	logins map[string]string
}

// startSaslauthd listens on a unix socket, which everybody may use.
func startSaslauthd(path string, logins map[string]string) (*saslauthd, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	s := &saslauthd{l, logins}
	go s.accept()
	return s, nil
}

func (s *saslauthd) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.answer(conn)
	}
}

// answer reads a query, which is four strings (user, password, service, realm), and says yes or no. A string has its
// length before it.
func (s *saslauthd) answer(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(ioLimit))
	var query [4]string
	for i := range query {
		var length uint16
		if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
			return
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(conn, text); err != nil {
			return
		}
		query[i] = string(text)
	}
	conn.Write([]byte(s.verdict(query[0], query[1], query[3])))
}

// verdict is the answer about a password. Cyrus SASL cuts the user name at its last @: what follows is the realm.
func (s *saslauthd) verdict(user, password, realm string) string {
	if realm != "" {
		user += "@" + realm
	}
	if right, known := s.logins[user]; s.logins == nil || known && right == password {
		return "\x00\x02OK"
	}
	return "\x00\x02NO"
}

func (s *saslauthd) stop() error { return s.listener.Close() }
