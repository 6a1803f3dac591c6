package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/32 of their value
// wide, from a nanosecond to more than an hour. The zero histogram is empty.
// It is not safe for concurrent use.
type histogram struct {
	counts [histogramBuckets]uint64
	total  uint64
}

const (
	histogramSteps   = 32 // buckets for each power of two
	histogramBuckets = 40 * histogramSteps
)

// add counts one duration. A negative one counts as none.
func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
}

// quantile returns the duration that the share q of all does not exceed: the
// upper end of the bucket that it lies in. 0 if the histogram is empty.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen > min(rank, h.total-1) {
			return endOf(i)
		}
	}
	return 0
}

// bucketOf returns a duration's bucket: exact below 32 ns, then the leading
// six bits.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < histogramSteps {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return min((shift+1)*histogramSteps+int(v>>shift)-histogramSteps, histogramBuckets-1)
}

// endOf returns the largest duration in a bucket.
func endOf(bucket int) time.Duration {
	if bucket < histogramSteps {
		return time.Duration(bucket)
	}
	shift := bucket/histogramSteps - 1
	lowest := uint64(bucket%histogramSteps+histogramSteps) << shift
	return time.Duration(lowest + 1<<shift - 1)
}

// merge adds what another histogram has counted.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}
