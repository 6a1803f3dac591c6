package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load sends requests through Envoy, a few at a time, and counts what is
// answered, by phases that a test begins.
type load struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	more    *sync.Cond
	answers answers
	rounds  []int // by worker: its answers to requests begun in this phase
}

// answers are how many answers had which status, by the phase in which the
// request began.
type answers []map[int]int

func (a answers) total() map[int]int {
	all := map[int]int{}
	for _, statuses := range a {
		for status, n := range statuses {
			all[status] += n
		}
	}
	return all
}

// startLoad returns when requests are being answered.
func startLoad(r *rig, q request) *load {
	ctx, cancel := context.WithCancel(context.Background())
	const workers = 4
	l := &load{cancel: cancel, answers: answers{{}}, rounds: make([]int, workers)}
	l.more = sync.NewCond(&l.mu)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	for i := range workers {
		l.workers.Go(func() {
			pace := time.NewTicker(40 * time.Millisecond)
			defer pace.Stop()
			for ; ctx.Err() == nil; <-pace.C {
				phase := l.phase()
				got, err := r.try(context.Background(), client, q)
				if err != nil {
					r.t.Errorf("Envoy did not answer: %v", err)
				}
				l.count(i, phase, got.status)
			}
		})
	}
	r.t.Cleanup(func() { l.stop() })
	l.wait()
	return l
}

func (l *load) phase() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.answers) - 1
}

func (l *load) count(worker, phase, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[phase][status]++
	if phase == len(l.answers)-1 {
		l.rounds[worker]++
		l.more.Broadcast()
	}
}

// next begins a phase. When it returns, every worker has had several answers
// in it, and so all requests of the phases before have been answered.
func (l *load) next() {
	l.mu.Lock()
	l.answers = append(l.answers, map[int]int{})
	clear(l.rounds)
	l.mu.Unlock()
	l.wait()
}

func (l *load) wait() {
	const several = 12
	l.mu.Lock()
	defer l.mu.Unlock()
	for slices.Min(l.rounds) < several {
		l.more.Wait()
	}
}

// stop ends the load and returns what was answered, by phase.
func (l *load) stop() answers {
	l.cancel()
	l.workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}
