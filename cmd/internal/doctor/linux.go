package doctor

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenerOf returns the user of the process that opened a socket (unix(7), SO_PEERCRED).
func listenerOf(conn net.Conn) (uid uint32, err error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("only a unix socket tells it")
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return 0, err
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, refused = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); refused == nil {
			uid = cred.Uid
		}
	})
	return uid, errors.Join(err, refused)
}

// KernelSynchronised says whether a time service holds the kernel's clock to right time
// (adjtimex(2)).
func KernelSynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err
}
