package daemon

import (
	"testing"
)

// U1: the portal's pages are of the configuration in force, trial mode too, from the next reload on.
func TestPortalFacts(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	d, _ := p.start()
	if f := d.portalFacts(); f.Observe || !f.AllowUserGateways || !f.Domains["home.example"] {
		t.Errorf("%+v", f)
	}
	p.write("[server]\n", "[server]\nmode = observe\n", "allow_user_gateways = yes", "allow_user_gateways = no")
	check(t, d.reload())
	if f := d.portalFacts(); !f.Observe || f.AllowUserGateways {
		t.Errorf("in trial mode: %+v", f)
	}
}
