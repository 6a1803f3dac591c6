package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machineLines describe the machine and the versions.
func machineLines(ctx context.Context) []string {
	memory, _ := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"))
	lines := []string{
		fmt.Sprintf("%s, %d cores, %d MiB, Linux %s, %s", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory/1024, firstWord("/proc/sys/kernel/osrelease"), runtime.Version()),
		fmt.Sprintf("%s, commit %s, %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), output(ctx, "git", "describe", "--always", "--dirty"), output(ctx, program, "version")),
	}
	if load, err := strconv.ParseFloat(firstWord("/proc/loadavg"), 64); err == nil && load > 0.5 {
		lines = append(lines, fmt.Sprintf("The machine was not idle when the run began: load average %.1f.", load))
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
	word, _, _ := strings.Cut(string(data), " ")
	return strings.TrimSpace(word)
}

// output returns the first line that a program prints.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}
