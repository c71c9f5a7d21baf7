package daemon

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// The journal of systemd keeps of each entry not a line but fields, NAME=value, by which it
// can be searched: "journalctl -t gatemilter REASONS=around-gateway". MESSAGE is the line
// that people see, PRIORITY its severity, SYSLOG_IDENTIFIER the program; the names that begin
// with an underscore are the journal's own, and can't be forged. A field may come several
// times, and so does one of ours that is a list. See systemd.journal-fields(7), and
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL for how they are sent.

const (
	// journalIdentifier is the SYSLOG_IDENTIFIER.
	journalIdentifier = "gatemilter"
	// journalFacility is syslog's "mail" (RFC 5424, section 6.2.1): where the journal is
	// forwarded to syslog, our lines come to stand beside Postfix's.
	journalFacility = "2"
	// maxName is the journal's own limit.
	maxName = 64
	// maxMessage bounds MESSAGE, in characters.
	maxMessage = 1000
	// maxValue bounds a value; the longest honest one is the stack of a panic.
	maxValue = 32 << 10
	// maxEntry bounds an entry to what a socket takes as one datagram (net.core.wmem_default
	// is 208 KiB): a longer one would have to go by a file.
	maxEntry = 128 << 10
)

// priorities are the severities of syslog, which are the journal's.
var priorities = map[zapcore.Level]journal.Priority{
	zapcore.DebugLevel:  journal.PriDebug,
	zapcore.InfoLevel:   journal.PriInfo,
	zapcore.WarnLevel:   journal.PriWarning,
	zapcore.ErrorLevel:  journal.PriErr,
	zapcore.DPanicLevel: journal.PriCrit,
	zapcore.PanicLevel:  journal.PriAlert,
	zapcore.FatalLevel:  journal.PriEmerg,
}

// A journalEncoder makes of an entry what [journalSocket] sends. It is our own, because
// journal.Send of go-systemd takes each name only once, so that a list would have to be one
// value, by whose parts nobody can search.
type journalEncoder struct{ *zapcore.MapObjectEncoder }

func newJournalEncoder() journalEncoder { return journalEncoder{zapcore.NewMapObjectEncoder()} }

func (e journalEncoder) Clone() zapcore.Encoder {
	c := newJournalEncoder()
	maps.Copy(c.Fields, e.Fields)
	return c
}

func (e journalEncoder) EncodeEntry(entry zapcore.Entry, fields []zap.Field) (*buffer.Buffer, error) {
	all := e.Clone().(journalEncoder)
	for _, f := range fields {
		f.AddTo(all)
	}
	b := journalEntry{buffers.Get()}
	b.add("MESSAGE", Visible(entry.Message, maxMessage))
	b.add("PRIORITY", strconv.Itoa(int(priorities[entry.Level])))
	b.add("SYSLOG_IDENTIFIER", journalIdentifier)
	b.add("SYSLOG_FACILITY", journalFacility)
	if id := eventOf(fields); id != "" {
		b.add(messageID, id)
	}
	b.addAll("", all.Fields)
	return b.Buffer, nil
}

var buffers = buffer.NewPool()

// A journalEntry is an entry in the making, in the native protocol.
type journalEntry struct{ *buffer.Buffer }

// addAll adds fields in the order of their names.
func (b journalEntry) addAll(prefix string, fields map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		b.addField(prefix+key, fields[key])
	}
}

// addField adds what a MapObjectEncoder holds under a key.
func (b journalEntry) addField(key string, value any) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		b.addAll(key+"_", v)
	case []any:
		for _, element := range v {
			b.addField(key, element)
		}
	case []byte:
		b.add(fieldName(key), printable(string(v)))
	default:
		b.add(fieldName(key), printable(fmt.Sprint(v)))
	}
}

// add adds a field, unless the entry would get too long. A value with a newline goes with
// its length: else what comes after would be another field.
func (b journalEntry) add(name, value string) {
	if name == "" || b.Len()+len(name)+len(value)+10 > maxEntry {
		return
	}
	b.AppendString(name)
	if strings.Contains(value, "\n") {
		b.AppendByte('\n')
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	} else {
		b.AppendByte('=')
	}
	b.AppendString(value)
	b.AppendByte('\n')
}

// fieldName makes of a key such a name as the journal takes: it would silently leave out
// any other.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(key))
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(len(name), maxName)]
}

// printable is [Visible] for a value that may have several lines, as a stack has. The
// journal would keep any octets, but journalctl shows a value with control characters only
// as its size.
func printable(value string) string {
	// Escaping makes nothing shorter. A character that this cuts is behind the end, too.
	lines := strings.Split(value[:min(len(value), maxValue+utf8.UTFMax)], "\n")
	for i, line := range lines {
		columns := strings.Split(line, "\t")
		for j, c := range columns {
			columns[j] = Visible(c, maxValue+utf8.UTFMax)
		}
		lines[i] = strings.Join(columns, "\t")
	}
	text := strings.Join(lines, "\n")
	if len(text) > maxValue {
		return strings.ToValidUTF8(text[:maxValue], "") + "…"
	}
	return text
}
