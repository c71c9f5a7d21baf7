package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// Limits of sessions.
const (
	sessionLife      = time.Hour
	maxSessions      = 20000
	maxLoginSessions = 20 // of one user
)

// A session is a user who has logged in.
type session struct {
	login string // canonical
	began time.Time

	mu    sync.Mutex
	flash *notice
}

// keep sets what the next page says.
func (s *session) keep(n *notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flash = n
}

// take returns what this page says, once.
func (s *session) take() *notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.flash
	s.flash = nil
	return n
}

// A sessionID is the hash of a token: who reads our memory has no token by it.
type sessionID [sha256.Size]byte

// sessions are all that are open.
type sessions struct {
	now func() time.Time
	mu  sync.Mutex
	all map[sessionID]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: make(map[sessionID]*session)}
}

// begin makes a session, and returns its token.
func (s *sessions) begin(login string) string {
	var random [32]byte
	rand.Read(random[:])
	token := base64.RawURLEncoding.EncodeToString(random[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(login)
	s.all[sha256.Sum256([]byte(token))] = &session{login: login, began: s.now()}
	return token
}

// makeRoom forgets sessions that are over, and the oldest where there are too many.
func (s *sessions) makeRoom(login string) {
	var oldest, oldestOfLogin sessionID
	count := 0
	older := func(id, than sessionID) bool {
		return s.all[than] == nil || s.all[id].began.Before(s.all[than].began)
	}
	for id, session := range s.all {
		switch {
		case s.over(session):
			delete(s.all, id)
			continue
		case session.login == login:
			count++
			if older(id, oldestOfLogin) {
				oldestOfLogin = id
			}
		}
		if older(id, oldest) {
			oldest = id
		}
	}
	if count >= maxLoginSessions {
		delete(s.all, oldestOfLogin)
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
}

func (s *sessions) over(session *session) bool {
	return !s.now().Before(session.began.Add(sessionLife))
}

// find returns the session of a token, or nil.
func (s *sessions) find(token string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.all[sha256.Sum256([]byte(token))]
	if session == nil || s.over(session) {
		return nil
	}
	return session
}

func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(token)))
}

// Names of cookies. With __Host- a browser takes one only over TLS, and from this host alone
// (RFC 6265bis, section 4.1.3.2).
const (
	sessionCookie  = "gatemilter"
	languageCookie = "gatemilter-language"
)

func (s *Server) cookieName(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name // for trying out on this host: config takes http nowhere else
}

// setCookie sets a cookie for so many seconds; 0 is until the browser ends, -1 removes it. It is
// sent along when a link in a message is followed: SameSite=Lax.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: seconds,
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns what a browser sends of ours. With two of one name, none counts.
func (s *Server) cookie(r *http.Request, name string) string {
	if all := r.CookiesNamed(s.cookieName(name)); len(all) == 1 {
		return all[0].Value
	}
	return ""
}
