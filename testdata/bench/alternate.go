package main

import (
	"context"
	"fmt"
	"os"
)

// contender is one of those that are measured against each other.
type contender[R any] struct {
	name  string
	slice func(context.Context) (R, error) // measures once, for a second or less
}

// alternate lets every contender measure one slice in each round, and returns
// the results by contender and round. Whoever began a round ends the next one,
// so that no place in the order favours anybody. A first round warms up and
// does not count.
func alternate[R any](ctx context.Context, rounds int, contenders []contender[R]) ([][]R, error) {
	results := make([][]R, len(contenders))
	for round := range rounds + 1 {
		for turn := range contenders {
			which := (round + turn) % len(contenders)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			result, err := contenders[which].slice(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", contenders[which].name, round, err)
			}
			if round > 0 {
				results[which] = append(results[which], result)
			}
		}
	}
	return results, nil
}

// progress tells whoever waits what is being done. It goes to standard error:
// the report alone is on standard output.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
