package limit

// Len returns how many keys are remembered.
func (k *Keyed) Len() int { return len(k.buckets) }
