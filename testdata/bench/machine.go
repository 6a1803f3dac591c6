package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine says where and on what the figures came about.
type machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryMiB int     `json:"memoryMiB"`
	Kernel    string  `json:"kernel"`
	Go        string  `json:"go"`
	Commit    string  `json:"commit"`    // what git describes the working directory as
	Tokengate string  `json:"tokengate"` // what the measured binary says of itself
	Date      string  `json:"date"`      // when the run began
	Load      float64 `json:"load"`      // the load average of the minute before
	Stolen    float64 `json:"stolen"`    // share of CPU time that the hypervisor gave to others during the run
	Others    float64 `json:"others"`    // cores that processes beside the bench's kept busy during the run

	started time.Time
	began   cpuTimes
}

func thisMachine(ctx context.Context) machine {
	m := machine{
		CPU:    field("/proc/cpuinfo", "model name"),
		Cores:  runtime.NumCPU(),
		Kernel: firstWord("/proc/sys/kernel/osrelease"),
		Go:     runtime.Version(),
		Commit: output(ctx, "git", "describe", "--always", "--dirty"),
		Date:   time.Now().UTC().Format("2006-01-02 15:04 UTC"),

		started: time.Now(),
		began:   readCPUTimes(),
	}
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryMiB = kib / 1024
	}
	if load, err := strconv.ParseFloat(firstWord("/proc/loadavg"), 64); err == nil {
		m.Load = load
	}
	if _, err := os.Stat(program); err == nil {
		m.Tokengate = strings.TrimPrefix(output(ctx, program, "version"), "tokengate ")
	}
	return m
}

// finish notes what is known only at the end, when all processes of the bench
// are gone.
func (m *machine) finish() {
	now := readCPUTimes()
	if all := now.all - m.began.all; all > 0 {
		m.Stolen = (now.stolen - m.began.stolen) / all
	}
	busy := (now.busy - m.began.busy) / userHertz
	own := (cpuOf(syscall.RUSAGE_SELF) + cpuOf(syscall.RUSAGE_CHILDREN)).Seconds()
	m.Others = max(0, busy-own) / time.Since(m.started).Seconds()
}

// cpuOf returns the CPU time that this process, or its children that have
// ended, have used: getrusage(2).
func cpuOf(who int) time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(who, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// lines describe the machine for people.
func (m *machine) lines() []string {
	lines := []string{
		fmt.Sprintf("%s, %d cores, %d MiB, Linux %s, %s", m.CPU, m.Cores, m.MemoryMiB, m.Kernel, m.Go),
		fmt.Sprintf("%s, commit %s, tokengate %s", m.Date, m.Commit, m.Tokengate),
	}
	if m.Load > 0.5 {
		lines = append(lines, fmt.Sprintf("The machine was not idle when the run began: load average %.1f.", m.Load))
	}
	if m.Others > 0.05 {
		lines = append(lines, fmt.Sprintf("Other processes kept %.1f of the cores busy during the run: its figures are worth less.", m.Others))
	}
	if m.Stolen > 0.005 {
		lines = append(lines, fmt.Sprintf("The hypervisor gave %.1f %% of the CPU time to others.", 100*m.Stolen))
	}
	return lines
}

// field returns the value of the first "name: value" line of a file.
func field(file, name string) string {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if before, after, found := strings.Cut(line, ":"); found && strings.TrimSpace(before) == name {
			return strings.TrimSpace(after)
		}
	}
	return "unknown"
}

func firstWord(file string) string {
	data, _ := os.ReadFile(file)
	if words := strings.Fields(string(data)); len(words) > 0 {
		return words[0]
	}
	return "unknown"
}

func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); err == nil && first != "" {
		return first
	}
	return "unknown"
}

// cpuTimes are ticks of the first line of /proc/stat, of which there are
// userHertz in a second.
type cpuTimes struct{ all, busy, stolen float64 }

const userHertz = 100

func readCPUTimes() (t cpuTimes) {
	data, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(data), "\n")
	// The word cpu, and user nice system idle iowait irq softirq steal; guest
	// time, behind them, is in user.
	for i, word := range strings.Fields(first) {
		ticks, err := strconv.ParseFloat(word, 64)
		if err != nil || i > 8 {
			continue
		}
		t.all += ticks
		switch i {
		case 4, 5:
		case 8:
			t.stolen = ticks
		default:
			t.busy += ticks
		}
	}
	return t
}
