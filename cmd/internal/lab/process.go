package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A family is the processes of one instance: master(8) leads the process group that its daemons are born into. It is
// told by the group, as /proc shows working directories and programs only to the mightier roots.
type family struct {
	master int
	born   string // start time of the master, which another process with its number has not
}

// newFamily returns the family whose master wrote the pid file.
func newFamily(pidFile string) (family, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return family{}, err
	}
	master, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return family{}, fmt.Errorf("%q: %w", pidFile, err)
	}
	p, err := processAt(filepath.Join("/proc", strconv.Itoa(master)))
	if err != nil {
		return family{}, err
	}
	return family{master, p.born}, nil
}

// members returns the processes that live.
func (f family) members() []int {
	if f.master == 0 {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	var pids []int
	for _, dir := range dirs {
		p, err := processAt(dir)
		if err != nil || p.group != f.master || p.state == "Z" {
			continue // gone meanwhile, another's, or dead
		}
		if p.pid == f.master && p.born != f.born {
			return nil // the number has gone to another group, so ours is empty
		}
		pids = append(pids, p.pid)
	}
	return pids
}

// has says whether pid is a living member.
func (f family) has(pid int) bool { return slices.Contains(f.members(), pid) }

// A process is what proc(5) says in the file stat.
type process struct {
	pid   int
	state string
	group int
	born  string // in clock ticks since the system's start
	cpu   time.Duration
	// parent is the process that made it, or the one that takes orphans.
	parent int
}

// tick is the unit of times in proc(5): USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPUTime is the time that a process has run, with all its threads, in its own code and the system's; in steps of 10 ms.
func CPUTime(pid int) (time.Duration, error) {
	p, err := processAt(filepath.Join("/proc", strconv.Itoa(pid)))
	return p.cpu, err
}

func processAt(dir string) (process, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (process, error) {
	// The second field, the program's name in parentheses, may hold anything.
	begin, end := strings.Index(text, " ("), strings.LastIndex(text, ") ")
	if begin < 0 || end < begin {
		return process{}, fmt.Errorf("%q is not like /proc/PID/stat", text)
	}
	fields := strings.Fields(text[end+1:]) // from the third on
	if len(fields) < 20 {
		return process{}, fmt.Errorf("%q is not like /proc/PID/stat", text)
	}
	pid, err := strconv.Atoi(text[:begin])
	if err != nil {
		return process{}, err
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return process{}, err
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, err
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return process{}, err
	}
	system, err := strconv.Atoi(fields[12])
	return process{pid, fields[0], group, fields[19], time.Duration(user+system) * tick, parent}, err
}
