package identity

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A snapshot is what a daemon begins with while the database can't be reached: the rows as
// they are stored, passwords encrypted, one JSON object a line, between a line that says
// what it is and one that says how many there were.

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

var errNoSnapshot = errors.New("there is no snapshot")

// snapshots keep the snapshot of a follower.
type snapshots struct {
	store    *Store
	path     string
	follower Follower

	dirty   chan struct{}
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

func newSnapshots(s *Store, path string, f Follower) *snapshots {
	n := &snapshots{store: s, path: path, follower: f, dirty: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	if path != "" {
		n.stopped.Go(func() { n.run(ctx) })
	}
	return n
}

// due says that records have changed.
func (n *snapshots) due() { wake(n.dirty) }

// finish writes what is due, and ends.
func (n *snapshots) finish() {
	n.stop()
	n.stopped.Wait()
}

// snapshotEffort is how many times as long as writing took there is no other: very many
// records that change all the time must not keep a processor busy.
const snapshotEffort = 20

func (n *snapshots) run(ctx context.Context) {
	for {
		select {
		case <-n.dirty:
		case <-ctx.Done():
			n.last()
			return
		}
		began := time.Now()
		n.write(ctx)
		sleep(ctx, max(n.store.times.snapshot, snapshotEffort*time.Since(began)))
	}
}

// last writes the snapshot once more if records have changed since.
func (n *snapshots) last() {
	select {
	case <-n.dirty:
		ctx, cancel := context.WithTimeout(context.Background(), 2*n.store.times.call)
		defer cancel()
		n.write(ctx)
	default:
	}
}

// write writes a new file and puts it in the place of the old one. Where that fails, the old
// one stays, and records are due again.
func (n *snapshots) write(ctx context.Context) {
	err := n.replace(ctx)
	if err == nil {
		return
	}
	n.due()
	if ctx.Err() == nil {
		n.follower.Bad(fmt.Errorf("the snapshot %q can't be written: %w", n.path, err))
	}
}

func (n *snapshots) replace(ctx context.Context) error {
	f, err := os.CreateTemp(filepath.Dir(n.path), "."+filepath.Base(n.path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after Rename
	out := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(n.store.writeSnapshot(ctx, out), out.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), n.path)
}

// writeSnapshot writes all rows of the database, as they are at one time.
func (s *Store) writeSnapshot(ctx context.Context, out io.Writer) error {
	db, err := s.use(ctx)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(snapshotHead{snapshotVersion, s.now().UTC()}); err != nil {
		return err
	}
	count := 0
	var failed error
	err = s.eachRow(ctx, db, func(w *row, err error) bool {
		if err == nil {
			failed = lines.Encode(w)
			count++
		}
		return failed == nil
	}, "")
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return lines.Encode(snapshotEnd{&count})
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
	users := make(map[string][]Record)
	hosts := make(map[string]string)
	err = readSnapshot(f, func(w *row) {
		r, err := w.record(n.store.config.Keys)
		var bad *RowError
		if errors.As(err, &bad) {
			n.follower.Bad(bad)
		}
		if usable(err) {
			share(&r, hosts)
			users[r.Login] = append(users[r.Login], r)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("the snapshot %q can't be used: %w", n.path, err)
	}
	return users, nil
}

// readSnapshot calls f for each row. A file that ends before its end is an error: who is not
// in it may have been.
func readSnapshot(in io.Reader, f func(*row)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 4<<10), maxSnapshotLine)
	var head snapshotHead
	if !lines.Scan() || strictJSON(lines.Bytes(), &head) != nil || head.Version != snapshotVersion {
		return errors.Join(lines.Err(), errors.New("it does not begin as a snapshot does"))
	}
	for n := 0; lines.Scan(); n++ {
		var end snapshotEnd
		if strictJSON(lines.Bytes(), &end) == nil && end.Rows != nil {
			if *end.Rows != n || lines.Scan() {
				return fmt.Errorf("it has %d lines, and says %d", n, *end.Rows)
			}
			return lines.Err()
		}
		w, err := parseRow(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n+2, err)
		}
		f(&w)
	}
	return errors.Join(lines.Err(), errors.New("its end is missing"))
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
