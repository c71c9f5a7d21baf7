package admin

import (
	"maps"
	"time"

	"gatemilter/milter"
	"gatemilter/policy"
)

// minutes is how many minutes an hour keeps.
const minutes = 60

// An hour counts what happened in each of the last sixty minutes, the running one
// included.
type hour [minutes]minute

// A minute is what happened in one minute, which is told by its number since 1970.
type minute struct {
	number int64
	tally
}

// A tally counts messages by each of several words of ours.
type tally struct {
	verdicts map[string]int
	reasons  map[policy.Code]int
	gateways map[string]gatewayTally
}

// A gatewayTally counts the messages of a gateway, and those of them that were not taken or
// are spam.
type gatewayTally struct{ Messages, Refused, Spam int }

// tallyOf counts one message.
func tallyOf(r *milter.Record, outcome, gateway string) tally {
	t := newTally()
	t.verdicts[outcome] = 1
	for _, code := range codes(&r.Verdict) {
		t.reasons[code] = 1
	}
	if gateway != "" {
		g := gatewayTally{Messages: 1}
		if r.Verdict.Action.Refuses() || r.Failure != nil {
			g.Refused = 1
		}
		if r.Verdict.Spam.IsSpam {
			g.Spam = 1
		}
		t.gateways[gateway] = g
	}
	return t
}

func newTally() tally {
	return tally{map[string]int{}, map[policy.Code]int{}, map[string]gatewayTally{}}
}

// plus adds another tally.
func (t tally) plus(u tally) {
	for word, n := range u.verdicts {
		t.verdicts[word] += n
	}
	for code, n := range u.reasons {
		t.reasons[code] += n
	}
	for name, g := range u.gateways {
		sum := t.gateways[name]
		t.gateways[name] = gatewayTally{sum.Messages + g.Messages, sum.Refused + g.Refused, sum.Spam + g.Spam}
	}
}

func (h *hour) add(now time.Time, t tally) {
	number := now.Unix() / 60
	m := &h[number%minutes]
	if m.number != number || m.verdicts == nil {
		*m = minute{number, newTally()}
	}
	m.plus(t)
}

// last returns the sum of the hour that ends now, and the verdicts of each of its minutes,
// the oldest first.
func (h *hour) last(now time.Time) (sum tally, each [minutes]map[string]int) {
	sum = newTally()
	first := now.Unix()/60 - minutes + 1
	for i := range each {
		if m := &h[(first+int64(i))%minutes]; m.number == first+int64(i) && m.verdicts != nil {
			sum.plus(m.tally)
			each[i] = maps.Clone(m.verdicts)
		}
	}
	return sum, each
}
