// Package identity keeps the addresses that users have attached to their accounts: a database
// beside the sections [user] and [user-gateway] of the configuration, which are the
// administrator's. What comes from either is the same value, a [policy.Identity].
//
// The database is SQLite, in a file, or PostgreSQL, which several mail servers share. Mail
// never waits for it: a daemon holds all identities in memory, is told of every change
// ([Store.Follow]), and keeps what it knows while the database is away. Passwords of users'
// servers are encrypted in it, see [Keyring].
package identity

import (
	"errors"
	"fmt"
	"time"

	"gatemilter/policy"
)

// A Record is an address of a user's in the database. Login and address together name it.
type Record struct {
	// Login is the name by which the user authenticates, as [policy.CanonicalLogin] writes
	// it; Account the address of the account itself.
	Login, Account string
	// Identity has the address, the server, and whether the administrator has disabled it. A gateway's slot counts once the record is
	// active. Where its password can't be decrypted, that is empty: mail has to wait.
	policy.Identity
	// Name is the display name that the user gave, or "".
	Name string
	// State says whether the user has shown that the address is his.
	State            State
	Created, Changed time.Time
}

// A State says how far a record has come.
type State uint8

// Pending is one of which the code has not been entered yet; Active one of which it has, or
// for which the administrator vouches.
const (
	Pending State = iota
	Active
)

var stateNames = [...]string{Pending: "pending", Active: "active"}

func (s State) String() string { return stateNames[s] }

// A Change is one that somebody has made, for the audit log and for show. It has no secrets.
type Change struct {
	ID int64
	At time.Time
	// By says who made it, and by what: "alice@example.com (portal, 192.0.2.7)", "root
	// (command)".
	By     string
	Action Action
	// Login and Address name the record; they are empty where an action is about all.
	Login, Address string
	// Detail is what changed, as "server [smtp.a.example]:587 → [smtp.b.example]:587".
	Detail string
}

// An Action is what somebody did.
type Action string

const (
	Added      Action = "added"
	Edited     Action = "changed"
	CodeSent   Action = "code sent"
	Confirmed  Action = "confirmed"
	DisabledBy Action = "disabled"
	EnabledBy  Action = "enabled"
	Removed    Action = "removed"
	Imported   Action = "imported"
	Rekeyed    Action = "rekeyed"
)

// Errors of a [Store]. Others are *[InvalidError], *[RowError], and those that wrap
// [ErrUnavailable].
var (
	ErrNotFound    = errors.New("there is no such identity")
	ErrExists      = errors.New("the user has this address already")
	ErrTooMany     = errors.New("the user has as many addresses as one may have")
	ErrChanged     = errors.New("somebody has changed this identity meanwhile; look at it again")
	ErrDisabled    = errors.New("the administrator has disabled this address")
	ErrActive      = errors.New("the address is confirmed already")
	ErrWrongCode   = errors.New("this is not the code")
	ErrCodeExpired = errors.New("the code is too old, or was tried too often; have a new one sent")
	ErrNoSlot      = errors.New("as many users as may have this address with servers of their own have it already; raise user_gateway_slots")

	// ErrUnavailable means that nothing can be read or changed at present.
	ErrUnavailable = errors.New("the database can't be used at present")
	// ErrPassword means that a stored password can't be decrypted: the key is missing, or
	// somebody has tampered with the row.
	ErrPassword = errors.New("the password can't be decrypted")
)

// A RowError is about a row, of the database or a snapshot, that a store would not have
// written: somebody has. It is left out. Or, with [ErrPassword], about its password.
type RowError struct {
	Login, Address string
	Err            error
}

func (e *RowError) Error() string {
	return fmt.Sprintf("the identity of %q, %q: %s", printable(e.Login), printable(e.Address), e.Err)
}

func (e *RowError) Unwrap() error { return e.Err }

// MaxAddresses is how many addresses a user may attach.
const MaxAddresses = 50
