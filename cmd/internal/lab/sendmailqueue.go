package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Queue lists the messages that are not delivered yet, in no particular order: hold has those in quarantine, deferred
// all others, also those on which Sendmail is at work.
func (s *Sendmail) Queue(ctx context.Context) ([]Queued, error) {
	entries, err := os.ReadDir(s.queue())
	if err != nil {
		return nil, err
	}
	var all []Queued
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), "qf")
		if quarantined, held := strings.CutPrefix(e.Name(), "hf"); held {
			id, ok = quarantined, true
		}
		if !ok {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.queue(), e.Name()))
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
			continue // delivered meanwhile, or not accepted yet
		}
		if err != nil {
			return nil, err
		}
		q, err := parseQueueFile(string(text))
		if err != nil {
			return nil, fmt.Errorf("queue file %s: %w", e.Name(), err)
		}
		q.ID = id
		all = append(all, q)
	}
	return all, ctx.Err()
}

// parseQueueFile takes a qf file apart: lines that begin with a letter for what they are about, the last of which is a dot
// ("Sendmail Installation and Operation Guide", appendix B). Why a recipient had to wait comes before its line, if it is
// not the same as for the whole message, which comes before the sender's.
func parseQueueFile(text string) (Queued, error) {
	q := Queued{Queue: "deferred"}
	var own, common string // reasons
	for line := range strings.SplitSeq(text, "\n") {
		if line == "." {
			return q, nil
		}
		if line == "" || line[0] == ' ' || line[0] == '\t' {
			continue // goes on with a line that we don't need
		}
		switch value := line[1:]; line[0] {
		case 'q':
			q.Queue, own = "hold", value
		case 'M':
			own = value
		case 'S':
			q.Sender, common, own = bare(value), own, ""
		case 'R':
			_, address, _ := strings.Cut(value, ":") // flags come before
			q.Recipients = append(q.Recipients, Recipient{bare(address), cmp.Or(own, common)})
			own = ""
		}
	}
	return Queued{}, errors.New("it does not end with a dot")
}

// bare returns an address without angle brackets.
func bare(address string) string { return strings.Trim(address, "<>") }

// Flush lets the instance try all queued mail again, and waits until it has.
func (s *Sendmail) Flush(ctx context.Context) error {
	if err := s.WaitIdle(ctx); err != nil { // else it would pass by what is under way
		return err
	}
	if err := run(s.Command(ctx, "-qf"), nil); err != nil { // f: in the foreground
		return err
	}
	return s.WaitIdle(ctx) // jobs in processes of their own are not waited for (confSEPARATE_PROC)
}

// WaitIdle waits until every message that was accepted is delivered, or left in the queue for a later run. It waits for
// clients that are in the middle of a message, too, but not for those that are between commands.
func (s *Sendmail) WaitIdle(ctx context.Context) error {
	return Until(ctx, "the queue to be idle", func() bool {
		for range 3 { // as one process may take over from another behind a look's back
			if s.busy() {
				return false
			}
		}
		return true
	})
}

// busy says whether a process works on a message. (Locks of the files in the queue would not tell: the process that has
// accepted a message unlocks it before another begins to deliver.)
func (s *Sendmail) busy() bool {
	daemon := 0
	if s.daemon != nil {
		daemon = s.daemon.Process.Pid
	}
	return slices.ContainsFunc(s.members(), func(pid int) bool {
		if pid == daemon {
			return false
		}
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		p, err := processAt(dir)
		if err != nil {
			return true // it has ended, perhaps for another
		}
		// A child of the daemon serves a client, and its title says what it does. All others deliver.
		title, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		return p.parent != daemon || !bytes.Contains(title, []byte("cmd read"))
	})
}

// Mailbox returns the messages in the mailbox of address, one of SendmailConfig.Mailboxes, in the order of arrival. It is
// that of the local user, who is the same in all domains; "@example.org" has one of its own.
func (s *Sendmail) Mailbox(address string) ([]Message, error) {
	if err := checkMailbox(address); err != nil {
		return nil, err
	}
	return readMaildir(filepath.Join(s.mail(), userName(address)))
}

// readMaildir returns the messages in a maildir, in the order of arrival.
func readMaildir(dir string) ([]Message, error) {
	files, err := byArrival(filepath.Join(dir, "new"))
	if err != nil {
		return nil, err
	}
	var all []Message
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parseMessage(raw)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", file, err)
		}
		all = append(all, m)
	}
	return all, nil
}
