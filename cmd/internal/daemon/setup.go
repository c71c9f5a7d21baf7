package daemon

import (
	"fmt"
	"maps"
	"slices"

	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy/config"
)

// compareSetups says if a mail server has to be told of a change: Sendmail, if it has ever
// asked, and Postfix otherwise.
func (d *daemon) compareSetups(before, after *config.Config) {
	if d.sendmailAsks.Load() {
		old, _ := sendmail.Setup(before)
		now, err := sendmail.Setup(after)
		if err != nil || old != now {
			d.log.needsSendmailSetup()
		}
		return
	}
	if setupOf(before) != setupOf(after) {
		d.log.needsSetup()
	}
}

// setupOf tells all of a configuration for which Postfix itself needs settings (see mta-setup),
// so that two can be compared.
func setupOf(c *config.Config) string {
	o := &c.Settings.Outbound
	users := 0
	if o.HasUserGateways() {
		users = o.Slots
	}
	return fmt.Sprint(users, len(o.Routes) > 0, slices.Sorted(maps.Keys(o.Recipients)), c.Settings.ChoosesMilters())
}
