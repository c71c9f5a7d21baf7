package daemon

import (
	"net"
	"sync/atomic"

	"gatemilter/cmd/internal/admin"
	"gatemilter/milter"
	"gatemilter/milter/accept"
	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// What the admin pages are told. Where none are served, d.admin is nil, which takes no notice.

// linesDropped counts the log lines that were lost since the process began.
var linesDropped atomic.Uint64

// monitor makes what the pages show, if anybody may look at it.
func (d *daemon) monitor(g *generation, version string) {
	if len(g.config.Server.Admin) > 0 {
		d.admin = admin.New(version, linesDropped.Load)
	}
	d.admin.Configured(g.config, g.dnsStats)
	d.admin.Identities(d.identityState)
}

// adminName is the service of the admin pages.
const adminName = "admin"

// adminService serves the pages.
func (d *daemon) adminService() service {
	report := func(err error) { d.log.connection("admin connection", adminEvent, "admin", err) }
	return service{name: adminName, server: admin.NewServer(d.admin, report)}
}

// serving tells the pages where we listen.
func (d *daemon) serving(services []service) {
	var all []admin.Service
	for _, s := range services {
		shown := admin.Service{Name: s.name}
		for _, l := range s.listeners {
			shown.Sockets = append(shown.Sockets, listenerAt(l.Addr()))
		}
		if counted, ok := s.server.(interface{ Connections() accept.Counts }); ok {
			shown.Connections = counted.Connections
		}
		all = append(all, shown)
	}
	d.admin.Serving(all)
}

func listenerAt(at net.Addr) config.Listener {
	return config.Listener{Network: at.Network(), Address: at.String()}
}

// message tells log and pages of a message.
func (d *daemon) message(r *milter.Record) {
	d.log.message(r)
	d.admin.Message(r)
}

// routed answers with a route, and counts it.
func (d *daemon) routed(g *generation, r *policy.Route, why policy.Reason) lookup.Answer {
	d.countRoute(r, why)
	return g.way(r)
}

func (d *daemon) countRoute(r *policy.Route, why policy.Reason) {
	if why.Code != "" {
		d.admin.Routed(r, why.Code)
	}
}

// probed tells the pages what a host has shown.
func (d *daemon) probed(w *way, report tlsprobe.Report, failure error) {
	p := admin.Probe{Failure: failure}
	if len(report.Chain) > 0 {
		p.Expires = report.Chain[0].NotAfter
	}
	d.admin.Probed(w.route.Name, w.route.Nexthop(w.host), p)
}
