package daemon

import (
	"fmt"
	"strings"

	sd "github.com/coreos/go-systemd/v22/daemon"
	sys "golang.org/x/sys/unix"

	"gatemilter/policy/config"
)

// systemd is told what becomes of us (Type=notify): that we serve, read the configuration
// again, stop; with a STATUS= that "systemctl status" shows. See sd_notify(3). Without
// systemd, whose socket is in the variable NOTIFY_SOCKET, nobody is told.

// notify sends assignments to systemd.
func (d *daemon) notify(state ...string) {
	if _, err := sd.SdNotify(false, strings.Join(state, "\n")); err != nil {
		d.log.untold(err)
	}
}

func (d *daemon) notifyReady(services []service) {
	d.notify(sd.SdNotifyReady, "STATUS="+status(d.current.Load().config, services))
}

// notifyReloading begins a reload, which notifyReloaded ends. With the time, systemd can
// tell a reload that it asked for from an earlier one (since version 253).
func (d *daemon) notifyReloading() {
	var now sys.Timespec
	if err := sys.ClockGettime(sys.CLOCK_MONOTONIC, &now); err != nil {
		d.log.untold(err)
		return
	}
	d.notify(sd.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// notifyReloaded says which configuration is in force now. One that was refused is no
// failure of the service, but what an administrator wants to see first.
func (d *daemon) notifyReloaded(services []service, err error) {
	text := status(d.current.Load().config, services)
	if err != nil {
		text = "the last configuration was refused, see the log; " + text
	}
	d.notify(sd.SdNotifyReady, "STATUS="+text)
}

func (d *daemon) notifyStopping() {
	d.notify(sd.SdNotifyStopping, "STATUS=messages in progress finish")
}

// status is what is served, on one line.
func status(c *config.Config, services []service) string {
	var at []string
	for _, s := range services {
		for _, l := range s.listeners {
			at = append(at, s.name+" at "+l.Addr().String())
		}
	}
	s := &c.Settings
	text := fmt.Sprintf("%s: gateways %d, routes %d, users %d; %s", s.Mode, len(s.Gateways), len(s.Outbound.Routes), len(s.Outbound.Users), strings.Join(at, ", "))
	return Visible(text, maxStatus)
}

// maxStatus bounds what "systemctl status" shows, in characters.
const maxStatus = 500
