package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatemilter/policy"
)

// A view is what the page shows, in words.
type view struct {
	Now, Started, Loaded time.Time
	Version, Mode        string
	Unready              []string
	// RefusedAt and Refused are of a reload that failed after the configuration was loaded.
	RefusedAt time.Time
	Refused   []string
	Warnings  []string
	Services  []serviceView
	Users     int
	// Identities are those of a database.
	Identities Identities
	// Away is why the database can't be used, if it can't.
	Away string

	Messages  int
	Minutes   []minuteView
	Busiest   int
	Verdicts  []bar
	Reasons   []bar
	Gateways  []gatewayView
	Routes    []routeView
	Decisions []decision
}

type serviceView struct {
	Name, Sockets string
	Open          int
}

// A minuteView is a column of the chart: the share of the busiest minute in hundredths
// of its height, from its top.
type minuteView struct {
	X, Y, Height, RefusedY, RefusedHeight int
}

// A bar stands for a count: Share is its hundredths of the largest.
type bar struct {
	Word, Meaning string
	Count, Share  int
}

type gatewayView struct {
	Name    string
	Domains string
	gatewayTally
}

type routeView struct {
	Name, Demands string
	Hosts         []hostView
}

type hostView struct {
	Name, Load, State, Word string
	Probed, Expires         time.Time
	// Soon says that the certificate expires so soon that the alert of packaging/prometheus
	// fires.
	Soon bool
}

// expiresSoon is how long before its end a certificate is to be replaced.
const expiresSoon = 14 * 24 * time.Hour

// view looks at everything once.
func (m *Monitor) view() *view {
	unready, connections, identities := m.unready(), m.connections(), m.askIdentities()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	v := &view{Now: now, Started: m.started, Version: m.version, Unready: unready, Decisions: m.recent.newest(), Identities: identities}
	if identities.Down != nil {
		v.Away = short(identities.Down.Error())
	}
	for _, s := range m.services {
		var at []string
		for _, l := range s.Sockets {
			at = append(at, l.String())
		}
		v.Services = append(v.Services, serviceView{s.Name, strings.Join(at, ", "), connections[s.Name].Open})
	}
	sum, each := m.hour.last(now)
	v.chart(each)
	v.bars(sum)
	if c := m.config.config; c != nil {
		v.Loaded, v.RefusedAt, v.Refused, v.Mode = m.config.loaded, m.config.refusedAt, m.config.refused, c.Settings.Mode.String()
		for _, w := range c.Warnings {
			v.Warnings = append(v.Warnings, short(w.String()))
		}
		v.Users = len(c.Settings.Outbound.Users)
		v.gateways(c.Settings.Gateways, sum)
		v.routes(c.Settings.Outbound.Routes, m.hosts, now)
	}
	return v
}

// chart makes the columns for the messages of each minute.
func (v *view) chart(each [minutes]map[string]int) {
	var all, refused [minutes]int
	for i, verdicts := range each {
		for word, n := range verdicts {
			all[i] += n
			if word != policy.Accept.String() && word != outcomeAborted {
				refused[i] += n
			}
		}
		v.Busiest = max(v.Busiest, all[i])
	}
	for i := range each {
		height, part := share(all[i], v.Busiest), share(refused[i], v.Busiest)
		v.Minutes = append(v.Minutes, minuteView{X: i * 10, Y: 100 - height, Height: height, RefusedY: 100 - part, RefusedHeight: part})
	}
}

// share returns a count in hundredths of the largest; what is there is seen.
func share(n, largest int) int {
	if n == 0 {
		return 0
	}
	return max(1, n*100/largest)
}

// maxBars is how many reasons are shown, the most frequent ones.
const maxBars = 12

func (v *view) bars(sum tally) {
	for _, word := range outcomes {
		if n := sum.verdicts[word]; n > 0 {
			v.Verdicts = append(v.Verdicts, bar{Word: word, Count: n})
			v.Messages += n
		}
	}
	for code, n := range sum.reasons {
		v.Reasons = append(v.Reasons, bar{Word: string(code), Meaning: code.Meaning(), Count: n})
	}
	slices.SortFunc(v.Reasons, func(a, b bar) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Word, b.Word)) })
	v.Reasons = v.Reasons[:min(len(v.Reasons), maxBars)]
	for _, bars := range [][]bar{v.Verdicts, v.Reasons} {
		largest := 0
		for _, b := range bars {
			largest = max(largest, b.Count)
		}
		for i := range bars {
			bars[i].Share = share(bars[i].Count, largest)
		}
	}
}

// gateways are those of the configuration, and then those that it has no longer.
func (v *view) gateways(configured []policy.Gateway, sum tally) {
	left := maps.Clone(sum.gateways)
	for _, g := range configured {
		domains := "all other domains"
		if n := len(g.Domains); n > 0 {
			domains = shortList(g.Domains)
		}
		v.Gateways = append(v.Gateways, gatewayView{g.Name, domains, left[g.Name]})
		delete(left, g.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		v.Gateways = append(v.Gateways, gatewayView{name, "no longer configured", left[name]})
	}
}

// shortList shows the first few.
func shortList(list []string) string {
	const few = 3
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

func (v *view) routes(routes []*policy.Route, states map[string]hostState, now time.Time) {
	for _, r := range routes {
		shown := routeView{Name: r.Name, Demands: demands(r.TLS)}
		for i, table := range [][]policy.Host{r.Primary, r.Secondary} {
			for _, h := range table {
				host := hostView{Name: r.Nexthop(h), Load: strconv.Itoa(h.Load) + " %"}
				if i == 1 {
					host.Load += ", secondary"
				}
				host.look(r, states[host.Name])
				host.Soon = !host.Expires.IsZero() && host.Expires.Before(now.Add(expiresSoon))
				shown.Hosts = append(shown.Hosts, host)
			}
		}
		v.Routes = append(v.Routes, shown)
	}
}

// look says what is known of a host.
func (h *hostView) look(r *policy.Route, state hostState) {
	h.Probed, h.Expires = state.at, state.Expires
	switch {
	case !r.TLS.Required:
		h.State = "nothing to check"
	case !r.TLS.Probed():
		h.State = "checked by the mail server, at each delivery"
	case state.at.IsZero():
		h.State = "not looked at yet: that is done when there is mail for it"
	case state.Failure != nil:
		h.Word, h.State = "fails", short(state.Failure.Error())
	default:
		h.Word, h.State = "holds", "what the route demands"
	}
}

// demands of a route, in the words of its options.
func demands(d policy.TLSDemand) string {
	switch {
	case !d.Required:
		return "TLS where the host offers it"
	case d.CA && d.Hostname:
		return "TLS, a trusted authority, the host's name"
	case d.CA:
		return "TLS, a trusted authority, any name"
	case d.Hostname:
		return "TLS, any authority, the host's name"
	}
	return "TLS, any certificate"
}
