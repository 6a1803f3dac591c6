package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cgroup is the cgroup of all containers.
const cgroup = "tokengate-cluster"

const cgroupFS = "/sys/fs/cgroup"

// hierarchies returns the directories in which a cgroup is made: one per controller for version 1.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupFS, "cgroup.controllers")); err == nil {
		return []string{cgroupFS}
	}
	var all []string
	for _, name := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "systemd", "unified"} {
		if info, err := os.Stat(filepath.Join(cgroupFS, name)); err == nil && info.IsDir() {
			all = append(all, filepath.Join(cgroupFS, name))
		}
	}
	return all
}

func makeCgroups() error {
	for _, h := range hierarchies() {
		dir := filepath.Join(h, cgroup)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a cgroup: %w", err)
		}
		// A new cpuset has no processors, and no process can join it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(h, file)); err == nil && filepath.Base(h) == "cpuset" {
				if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
					return fmt.Errorf("make a cgroup: %w", err)
				}
			}
		}
	}
	return nil
}

// removeCgroups removes the cgroups, whose processes have ended. The kernel may take a moment.
func removeCgroups() error {
	var last error
	for range 50 {
		last = nil
		for _, h := range hierarchies() {
			var dirs []string
			err := filepath.WalkDir(filepath.Join(h, cgroup), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, dir := range slices.Backward(dirs) {
				if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					last = fmt.Errorf("remove a cgroup: %w", err)
				}
			}
		}
		if last == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return last
}

// processesOfCgroups returns the processes that a killed run has left.
func processesOfCgroups() (all []string) {
	for _, h := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(h, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				if body, err := os.ReadFile(path); err == nil {
					all = append(all, strings.Fields(string(body))...)
				}
			}
			return nil
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}
