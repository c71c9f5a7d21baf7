package portal

import (
	"errors"
	"net/http"
	"time"

	"gatemilter/policy/identity"
)

// storeTexts are what a user is told of the errors that he can do something about.
var storeTexts = map[error]string{
	identity.ErrExists:      "store.exists",
	identity.ErrTooMany:     "store.tooMany",
	identity.ErrChanged:     "store.changed",
	identity.ErrDisabled:    "store.disabled",
	identity.ErrActive:      "store.active",
	identity.ErrWrongCode:   "confirm.wrong",
	identity.ErrCodeExpired: "confirm.expired",
	identity.ErrNoSlot:      "store.noSlot",
}

// failed says what an error of the store means. All that a user can't know of means to him that
// nothing can be changed at present.
func (v *visit) failed(err error) (status int, n *notice) {
	if wait := waitError(0); errors.As(err, &wait) {
		return http.StatusTooManyRequests, v.tooOften(time.Duration(wait))
	}
	for known, key := range storeTexts {
		if errors.Is(err, known) {
			return http.StatusUnprocessableEntity, &notice{Kind: "bad", Text: v.lang.t(key)}
		}
	}
	if !errors.Is(err, identity.ErrUnavailable) { // which whoever follows the database knows
		v.Report(err)
	}
	return http.StatusServiceUnavailable, &notice{Kind: "bad", Text: v.lang.t("store.away"), More: []string{v.lang.t("store.away.mail")}}
}

// storeResults are errors of the store as events have them.
var storeResults = map[error]string{
	identity.ErrNotFound:    "not-found",
	identity.ErrExists:      "exists",
	identity.ErrTooMany:     "too-many",
	identity.ErrChanged:     "changed",
	identity.ErrDisabled:    "disabled",
	identity.ErrActive:      "active",
	identity.ErrWrongCode:   "wrong-code",
	identity.ErrCodeExpired: "code-expired",
	identity.ErrNoSlot:      "no-slot",
	identity.ErrUnavailable: resultDatabase,
}

// resultOf is an error of the store as an event has it.
func resultOf(err error) string {
	if err == nil {
		return OK
	}
	for known, result := range storeResults {
		if errors.Is(err, known) {
			return result
		}
	}
	return resultFailed
}

// reasonOf says more about an error that the administrator can do something about.
func reasonOf(err error) string {
	if errors.Is(err, identity.ErrNoSlot) {
		return err.Error()
	}
	return ""
}

// record returns an address of the user's. Where there is none, or the administrator has
// disabled it, a page says so, and ok is false.
func (v *visit) record(entered string) (r identity.Record, ok bool) {
	if entered == "" && v.r.Method != http.MethodPost {
		v.home() // which address he means, he can say there
		return r, false
	}
	address, err := parseAddress(entered)
	if err != nil {
		v.refuse(http.StatusNotFound, "noAddress")
		return r, false
	}
	r, err = v.Store.Get(v.r.Context(), v.session.login, address)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		v.refuse(http.StatusNotFound, "noAddress")
	case err != nil:
		status, n := v.failed(err)
		v.show(status, &page{Name: "message", Title: v.lang.t("list.title"), Notice: n})
	case r.Disabled:
		v.refuse(http.StatusForbidden, "disabled", "address", r.Address)
	default:
		return r, true
	}
	return r, false
}
