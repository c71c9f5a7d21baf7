package admin

import "testing"

// What the pages cost a message, beyond the decision on it.
func BenchmarkMessage(b *testing.B) {
	m, _ := monitored(b, settings)
	r := throughGateway()
	b.ReportAllocs()
	for b.Loop() {
		m.Message(r)
	}
}
