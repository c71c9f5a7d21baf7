package doctor

import (
	"fmt"
	"os"
	"time"

	"gatemilter/policy/config"
)

// tolerance is how far files may be ahead of the clock: those that another host has written.
const tolerance = 5 * time.Minute

const setClock = "timedatectl set-ntp true"

// clock looks whether the time is right: certificates and signatures are judged by it. No
// peer can be asked; but the time is surely not before that of what is there already.
func (d *Doctor) clock(c *config.Config) []Check {
	now := d.Now()
	latest, which := d.Built, "this program was built"
	if c != nil {
		for _, f := range c.Files() {
			if info, err := os.Stat(f.Path); err == nil && info.ModTime().After(latest) {
				latest, which = info.ModTime(), f.Path+" was written"
			}
		}
	}
	shown := now.UTC().Format(time.RFC3339)
	if now.Add(tolerance).Before(latest) {
		return []Check{fail(onClock, "time", fmt.Sprintf("it is %s here, but %s at %s", shown, which, latest.UTC().Format(time.RFC3339)), setClock)}
	}
	return []Check{ok(onClock, "time", shown), d.synchronised()}
}

func (d *Doctor) synchronised() Check {
	const what = "time service"
	switch right, err := d.Synchronised(); {
	case err != nil:
		return warn(onClock, what, "the system does not tell whether the clock is synchronised: "+err.Error(), "see that a time service runs, such as chrony or systemd-timesyncd")
	case !right:
		return warn(onClock, what, "the system says that its clock is not synchronised", setClock)
	}
	return ok(onClock, what, "the clock is synchronised")
}
