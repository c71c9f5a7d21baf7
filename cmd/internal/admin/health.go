package admin

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
)

func serveHealth(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "healthy\n") }

func (m *Monitor) serveReady(w http.ResponseWriter, _ *http.Request) {
	if why := m.unready(); len(why) > 0 {
		writeText(w, http.StatusServiceUnavailable, "not ready\n"+strings.Join(why, "\n")+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

// unready says what keeps the mail server from being served.
func (m *Monitor) unready() (why []string) {
	m.mu.Lock()
	services, stopping, loaded := m.services, m.stopping, m.config.config != nil
	m.mu.Unlock()
	if stopping {
		why = append(why, "the daemon is stopping: messages in progress finish, new ones are not taken")
	}
	if !loaded {
		why = append(why, "no configuration is in force yet")
	}
	if len(services) == 0 {
		why = append(why, "no socket is open yet")
	}
	for _, s := range services {
		for _, l := range s.Sockets {
			if l.Network == "unix" && !isSocket(l.Address) {
				why = append(why, fmt.Sprintf("%s: the socket %s is gone from the file system, so nobody reaches it: restart gatemilter", s.Name, l.Address))
			}
		}
	}
	return why
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}
