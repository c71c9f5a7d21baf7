package daemon

import (
	"fmt"
	"maps"
	"slices"

	"gatemilter/policy/config"
)

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
