// Package identity keeps the addresses that users have attached to their accounts: a database
// beside the sections [user] and [user-gateway] of the configuration, which are the
// administrator's. What comes from either is the same value, a [policy.Identity].
//
// # The database
//
// It is SQLite, in a file, or PostgreSQL, which several mail servers share. A [Store] makes
// its tables, and brings those of an older version up to date, when it is used first. Each
// change is one transaction, and no two are made at the same time, on whichever host: it is
// there with the row that says what was changed and by whom, or not at all. These rows are
// numbered without gaps, and each has a random token.
//
// # Following
//
// Mail never waits for the database: a daemon holds all records in memory ([Store.Follow]).
// It asks for the last change's number four times a second (SQLite), or when it is notified
// and every ten seconds (PostgreSQL), and loads the records of the users whom the changes
// since the last one that it knows are about. Where that one is not there, or has another
// token, the history is another, that of a backup: then all is loaded again. While the
// database is away, what is known stays in force; and a daemon that begins then does so with
// a snapshot, a file beside it.
//
// # Passwords
//
// Passwords of users' servers are encrypted, in the database and in the snapshot, with a key
// that is in neither: see [Keyring]. Nothing that comes from the database is believed: who
// can write it, but has no key, can take addresses away from users, and give them some, but
// can't have a password sent to another server than the one that it was entered for, or put
// anything into an answer for the mail server that [Record.Check] would refuse.
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
