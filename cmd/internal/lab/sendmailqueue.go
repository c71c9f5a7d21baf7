package lab

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
			q.Queue = "hold"
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
	if err := run(s.Command(ctx, "-q"), nil); err != nil {
		return err
	}
	return s.WaitIdle(ctx)
}

// WaitIdle waits until every message that was accepted is delivered, or left in the queue for a later run.
func (s *Sendmail) WaitIdle(ctx context.Context) error {
	return Until(ctx, "the queue to be idle", func() bool {
		// Twice, as a file that is locked may take another's place between the two looks that busy has.
		return !s.busy() && !s.busy()
	})
}

// busy says whether a process works on a message, whose file in the queue is locked meanwhile.
func (s *Sendmail) busy() bool {
	locked, err := lockedInodes()
	if err != nil {
		return true
	}
	entries, err := os.ReadDir(s.queue())
	if err != nil {
		return true
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return true // gone since: there is work
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && locked[st.Ino] {
			return true
		}
	}
	return false
}

// lockedInodes returns the numbers of the files that are locked: see proc(5).
func lockedInodes() (map[uint64]bool, error) {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	locked := map[uint64]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // 1: FLOCK ADVISORY WRITE 9309 fe:00:9979443 0 EOF
		if len(fields) < 6 {
			continue
		}
		file := fields[5]
		if inode, err := strconv.ParseUint(file[strings.LastIndex(file, ":")+1:], 10, 64); err == nil {
			locked[inode] = true
		}
	}
	return locked, lines.Err()
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
