package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Start runs the server, also after Stop or Kill, on the same port and with the same data. When it returns without an
// error, the server takes connections.
func (p *Postgres) Start(ctx context.Context) error {
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return err
	}
	settings := []string{
		"listen_addresses=" + host, "port=" + port, "unix_socket_directories=" + p.dir, "hba_file=" + filepath.Join(p.dir, "access"),
		"fsync=off", // what is written survives every end but the machine's
		"shared_buffers=16MB", "max_connections=50", "log_min_messages=warning",
	}
	if p.config.Cert != nil {
		pem := filepath.Join(p.dir, "server.pem")
		settings = append(settings, "ssl=on", "ssl_cert_file="+pem, "ssl_key_file="+pem)
	}
	args := []string{"-D", p.data()}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd, ended := p.command(context.WithoutCancel(ctx), "postgres", args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	defer p.held.release()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.ended = cmd, ended
	go func() { cmd.Wait(); close(ended) }()
	if err := Until(ctx, "PostgreSQL to take connections", func() bool { return p.hasEnded() || p.answers(ctx) }); err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, p.Log()), p.Stop())
	}
	if p.hasEnded() {
		return fmt.Errorf("PostgreSQL ended at its start: %s", p.Log())
	}
	return nil
}

func (p *Postgres) answers(ctx context.Context) bool {
	conn, err := p.connect(ctx)
	if err == nil {
		conn.Close(ctx)
	}
	return err == nil
}

func (p *Postgres) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Log is what the server has said.
func (p *Postgres) Log() string { return p.output.String() }

// Stop ends the server as an administrator does who doesn't want to wait for its clients; its port stays its own. Where it
// doesn't end in time, it is killed, and there is an error.
func (p *Postgres) Stop() error {
	if p.hasEnded() {
		return nil
	}
	p.cmd.Process.Signal(syscall.SIGINT) // fails only if it has ended
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if err := Until(ctx, "PostgreSQL to end", p.hasEnded); err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, p.Log()), p.Kill())
	}
	return p.hold()
}

func (p *Postgres) hold() error {
	addr, err := netip.ParseAddrPort(p.addr)
	if err == nil {
		p.held, err = holdPort(addr)
	}
	return err
}

// Kill ends the server, all processes of it, in the middle of what they do (SIGKILL). Its port stays its own.
func (p *Postgres) Kill() error {
	if p.hasEnded() {
		return nil
	}
	p.cmd.Process.Signal(syscall.SIGSTOP) // no more children are born
	all, err := children(p.cmd.Process.Pid)
	p.cmd.Process.Kill()
	<-p.ended
	if err != nil {
		return err
	}
	for _, child := range all {
		if child.lives() {
			syscall.Kill(child.pid, syscall.SIGKILL)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err = Until(ctx, "PostgreSQL's processes to end", func() bool {
		return !slices.ContainsFunc(all, process.lives)
	})
	return errors.Join(err, p.hold())
}

// children are those of a process, each in a group of its own, as PostgreSQL's are.
func children(pid int) ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, dir := range dirs {
		if p, err := processAt(dir); err == nil && p.parent == pid {
			found = append(found, p)
		}
	}
	return found, nil
}

// lives says whether the process is there, and not another with its number.
func (p process) lives() bool {
	now, err := processAt(filepath.Join("/proc", strconv.Itoa(p.pid)))
	return err == nil && now.born == p.born && now.state != "Z"
}

// Close ends the server and removes its data.
func (p *Postgres) Close() error {
	defer p.held.release()
	return errors.Join(p.Stop(), os.RemoveAll(p.dir))
}
