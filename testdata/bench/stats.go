package main

import "slices"

// spread is a figure over the rounds: its median, its smallest and its largest.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf summarises what the rounds measured, of which there is one at least.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return spread{Median: median(sorted), Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratios divides round by round. Both sides of a ratio come from the same
// round, because a machine's speed drifts from one round to the next.
func ratios(above, below []float64) []float64 {
	all := make([]float64, min(len(above), len(below)))
	for i := range all {
		all[i] = above[i] / below[i]
	}
	return all
}

// each takes one figure out of every round's result.
func each[R any](results []R, figure func(R) float64) []float64 {
	all := make([]float64, len(results))
	for i, r := range results {
		all[i] = figure(r)
	}
	return all
}
