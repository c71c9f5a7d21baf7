package daemon

import (
	"context"
	"net"

	"golang.org/x/time/rate"

	"gatemilter/cmd/internal/portal"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// portalName is the service of the pages for users.
const portalName = "portal"

// openPortal opens the pages for users, if there are to be any. Mail does not depend on them: what
// is wrong with them is said, and all else serves.
func (d *daemon) openPortal(cfg *config.Config) []service {
	store := d.identityStore()
	if len(cfg.Portal.Listen) == 0 || store == nil {
		return nil
	}
	server, err := portal.New(portal.Options{
		Config: cfg.Portal, SNI: cfg.Server.SendsSNI(), Store: store, Facts: d.portalFacts,
		Report: func(err error) { d.log.connection("portal connection", portalTroubleEvent, "portal", err) },
		Log:    d.portalEvents(),
	})
	if err != nil {
		d.log.portalClosed(err)
		return nil
	}
	s := service{name: portalName, server: &portalServer{server, d.log, make(chan struct{})}}
	if s.listeners, err = listen(cfg.Portal.Listen, cfg.Server); err != nil {
		d.log.portalClosed(err)
		return nil
	}
	return []service{s}
}

// portalFacts are those of the configuration in force.
func (d *daemon) portalFacts() portal.Facts {
	s := &d.current.Load().config.Settings
	o := &s.Outbound
	return portal.Facts{
		AllowUserGateways: o.AllowUserGateways,
		Domains:           o.Domains,
		Configured:        func(login string) *policy.User { return o.Users[policy.CanonicalLogin(login)] },
		SenderHeader:      o.SenderHeader,
		Observe:           s.Mode == policy.Observe,
	}
}

// refusalsPerSecond is how many requests that the portal refuses are logged in the long run, and
// refusalsAtOnce how many before that: anybody can make very many, and the log's room, and the
// journal's, is for mail too. All are counted.
const (
	refusalsPerSecond = 5
	refusalsAtOnce    = 100
)

// portalEvents returns what logs and counts what users do.
func (d *daemon) portalEvents() func(portal.Event) {
	refusals := rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)
	return func(e portal.Event) {
		d.admin.Portal(string(e.Kind), e.Result)
		if isRefusal := e.Kind == portal.Limited || e.Kind == portal.Refused; !isRefusal || refusals.Allow() {
			d.log.portalEvent(e)
		}
	}
}

// A portalServer is a portal that takes nothing down with it: where its socket fails, that is
// logged.
type portalServer struct {
	*portal.Server
	log     *eventLog
	stopped chan struct{}
}

func (s *portalServer) Serve(l net.Listener) error {
	if err := s.Server.Serve(l); err != nil {
		s.log.portalClosed(err)
	}
	<-s.stopped
	return nil
}

func (s *portalServer) Shutdown(ctx context.Context) error {
	defer close(s.stopped)
	return s.Server.Shutdown(ctx)
}
