package daemon

import (
	"context"
	"net"

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
		Log:    d.portalEvent,
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

// portalEvent logs and counts what a user does.
func (d *daemon) portalEvent(e portal.Event) {
	d.log.portalEvent(e)
	d.admin.Portal(string(e.Kind), e.Result)
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
