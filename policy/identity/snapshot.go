package identity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A snapshot is what a daemon begins with while the database can't be reached: the rows as
// they are stored, passwords encrypted, one JSON object a line. First come a line that says
// what it is, all rows as they once were, and a line that says how many; then, for each user
// whose rows have changed since, a line with the login and the number of his rows, and these.
//
// So a change is there at once, before anybody acts on it, at the price of a few lines. When
// these have become many, all is written anew.

// snapshotVersion is that of the format.
const snapshotVersion = 1

// maxSnapshotLine bounds a line, in octets.
const maxSnapshotLine = 64 << 10

type snapshotHead struct {
	Version int       `json:"gatemilter_identities"`
	At      time.Time `json:"at"`
}

type snapshotEnd struct {
	Rows *int `json:"rows"`
}

type snapshotUser struct {
	Login *string `json:"login"`
	Rows  *int    `json:"rows"`
}

var errNoSnapshot = errors.New("there is no snapshot")

// snapshots keep the snapshot of a follower, for one goroutine.
type snapshots struct {
	store    *Store
	path     string // "" for none
	follower Follower

	// file is the one at path, to which changes can be added; nil: there is none, and none is
	// to be tried before the time again.
	file        *os.File
	again       time.Time
	base, added int64 // octets
}

// snapshotEffort is how many times as long as loading took a snapshot that failed is not tried
// again.
const snapshotEffort = 20

// lacking says that a new one is to be written, from all rows.
func (n *snapshots) lacking() bool {
	return n.path != "" && (n.file == nil && !time.Now().Before(n.again) || n.added > max(1<<20, n.base))
}

// begin begins a new snapshot. It never returns nil: where it can't be written, or there is to
// be none, the rows go nowhere.
func (n *snapshots) begin() *newSnapshot {
	s := &newSnapshot{of: n, began: time.Now()}
	if n.path == "" {
		return s
	}
	s.file, s.err = os.CreateTemp(filepath.Dir(n.path), "."+filepath.Base(n.path)+"-*") // 0600
	if s.err == nil {
		s.out = bufio.NewWriterSize(s.file, 1<<20)
		s.line(snapshotHead{snapshotVersion, n.store.now().UTC()})
	}
	return s
}

// A newSnapshot is one that is being written beside the old one.
type newSnapshot struct {
	of    *snapshots
	began time.Time
	file  *os.File
	out   *bufio.Writer // nil: nothing is written
	rows  int
	err   error
}

func (s *newSnapshot) line(value any) {
	if s.out != nil && s.err == nil {
		s.err = writeLine(s.out, value)
	}
}

func (s *newSnapshot) put(w *row) {
	s.line(w)
	s.rows++
}

// commit puts it in place of the old one.
func (s *newSnapshot) commit() {
	if s.of.path == "" {
		return
	}
	s.line(snapshotEnd{&s.rows})
	if s.err == nil {
		s.err = errors.Join(s.out.Flush(), s.file.Sync())
	}
	if s.err == nil {
		s.err = os.Rename(s.file.Name(), s.of.path)
	}
	if s.err != nil {
		s.abandon()
		s.of.failed(s.err, time.Since(s.began))
		return
	}
	s.of.close()
	info, _ := s.file.Stat() // what was just synced has a size
	s.of.file, s.of.base, s.of.added = s.file, info.Size(), 0
}

// abandon leaves the old one as it is.
func (s *newSnapshot) abandon() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// add notes the rows that some users have now.
func (n *snapshots) add(users map[string][]row) {
	if n.file == nil {
		return
	}
	var b bytes.Buffer
	var err error
	for login, rows := range users {
		count := len(rows)
		err = errors.Join(err, writeLine(&b, snapshotUser{&login, &count}))
		for i := range rows {
			err = errors.Join(err, writeLine(&b, &rows[i]))
		}
	}
	if err == nil {
		_, err = n.file.Write(b.Bytes())
	}
	if err == nil {
		err = n.file.Sync()
	}
	n.added += int64(b.Len())
	if err != nil {
		n.failed(err, 0)
	}
}

// failed removes what is no longer what the database has: who began with that would send mail the
// old way.
func (n *snapshots) failed(err error, took time.Duration) {
	n.close()
	n.again = time.Now().Add(max(n.store.times.snapshot, snapshotEffort*took))
	if gone := os.Remove(n.path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	n.follower.Bad(fmt.Errorf("the snapshot %q can't be written: %w", n.path, err))
}

func (n *snapshots) close() {
	if n.file != nil {
		n.file.Close()
		n.file = nil
	}
}

func writeLine(out io.Writer, value any) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return lines.Encode(value)
}

// read returns the records of the snapshot, or errNoSnapshot.
func (n *snapshots) read() (map[string][]Record, error) {
	if n.path == "" {
		return nil, errNoSnapshot
	}
	f, err := os.Open(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoSnapshot
	}
	if err != nil {
		return nil, fmt.Errorf("the snapshot can't be read: %w", err)
	}
	defer f.Close()
	rows, err := readSnapshot(f)
	if err != nil {
		return nil, fmt.Errorf("the snapshot %q can't be used: %w", n.path, err)
	}
	users := make(map[string][]Record)
	hosts := make(map[string]string)
	for login, list := range rows {
		for i := range list {
			r, err := list[i].record(n.store.config.Keys)
			var bad *RowError
			if errors.As(err, &bad) {
				n.follower.Bad(bad)
			}
			if usable(err) {
				share(&r, hosts)
				users[login] = append(users[login], r)
			}
		}
	}
	return users, nil
}

// ReadSnapshot returns the records of the snapshot at path, by login: what a daemon goes by while the
// database is away. Passwords stay unknown, and rows that can't be used are left out.
func ReadSnapshot(path string) (map[string][]Record, error) {
	n := snapshots{store: &Store{}, path: path, follower: Follower{Bad: func(error) {}}}
	return n.read()
}

// readSnapshot returns the rows of each user. A file that ends before the end of the rows with
// which it began is an error: who is not in it may have been. What was being added when the
// process ended, nobody has acted on.
func readSnapshot(in io.Reader) (map[string][]row, error) {
	lines := &snapshotLines{in: bufio.NewReaderSize(in, maxSnapshotLine)}
	var head snapshotHead
	if err := lines.next(&head); err != nil || head.Version != snapshotVersion {
		return nil, errors.New("it does not begin as a snapshot does")
	}
	users := make(map[string][]row)
	for n := 0; ; n++ {
		text, err := lines.text()
		if err != nil {
			return nil, fmt.Errorf("its end is missing: %w", err)
		}
		var end snapshotEnd
		if strictJSON(text, &end) == nil && end.Rows != nil {
			if *end.Rows != n {
				return nil, fmt.Errorf("it has %d lines, and says %d", n, *end.Rows)
			}
			break
		}
		w, err := parseRow(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", lines.n, err)
		}
		users[w.Login] = append(users[w.Login], w)
	}
	for {
		login, rows, err := lines.user()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return users, nil
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", lines.n, err)
		case len(rows) == 0:
			delete(users, login)
		default:
			users[login] = rows
		}
	}
}

// snapshotLines are the lines of a snapshot.
type snapshotLines struct {
	in *bufio.Reader
	n  int
}

// text returns the next line; io.ErrUnexpectedEOF says that it was cut off.
func (l *snapshotLines) text() ([]byte, error) {
	l.n++
	line, err := l.in.ReadSlice('\n')
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return line, err
}

func (l *snapshotLines) next(value any) error {
	text, err := l.text()
	if err == nil && strictJSON(text, value) != nil {
		err = errors.New("it is not a line as a snapshot has it")
	}
	return err
}

// user returns the rows that a user has since a change.
func (l *snapshotLines) user() (login string, rows []row, err error) {
	var head snapshotUser
	if err := l.next(&head); err != nil {
		return "", nil, err
	}
	if head.Login == nil || head.Rows == nil || *head.Rows < 0 {
		return "", nil, errors.New("it is not a change as a snapshot has it")
	}
	for range *head.Rows {
		text, err := l.text()
		if err != nil {
			return "", nil, err
		}
		w, err := parseRow(text)
		if err == nil && w.Login != *head.Login {
			err = errors.New("it is the row of another user")
		}
		if err != nil {
			return "", nil, err
		}
		rows = append(rows, w)
	}
	return *head.Login, rows, nil
}

// parseRow reads one line of a snapshot.
func parseRow(line []byte) (row, error) {
	var w row
	if err := strictJSON(line, &w); err != nil {
		return row{}, errors.New("it is not a record as a snapshot has it")
	}
	return w, nil
}

// strictJSON reads one JSON value, all of whose keys are known.
func strictJSON(text []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}
