package lookup

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// userOf asks the kernel who connected (unix(7), SO_PEERCRED).
func userOf(conn net.Conn) user {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return user{err: errors.New("only a unix socket tells it; ask there")}
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return user{err: err}
	}
	var (
		cred    *syscall.Ucred
		refused error
	)
	err = raw.Control(func(fd uintptr) {
		cred, refused = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, os.NewSyscallError("getsockopt", refused)); err != nil {
		return user{err: err}
	}
	return user{uid: cred.Uid}
}
