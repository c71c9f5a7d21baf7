package lookup

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// peerOf asks the kernel who connected (unix(7), SO_PEERCRED).
func peerOf(conn net.Conn) Peer {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{Err: errors.New("only a unix socket tells it; ask there")}
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return Peer{Err: err}
	}
	var (
		cred    *syscall.Ucred
		refused error
	)
	err = raw.Control(func(fd uintptr) {
		cred, refused = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, os.NewSyscallError("getsockopt", refused)); err != nil {
		return Peer{Err: err}
	}
	return Peer{UID: cred.Uid, PID: cred.Pid}
}
