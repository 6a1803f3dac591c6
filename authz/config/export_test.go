package config

// The tests write a Config as a file that Parse reads as the same Config.

// MarshalText returns what String returns.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText returns what String returns.
func (p Prefix) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// MarshalText returns what String returns.
func (l Lifetime) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// MarshalYAML returns none, or the key that is set.
func (d Directory) MarshalYAML() (any, error) {
	switch kind := d.Kind(); {
	case d.Upstream != UpstreamDirectory{}:
		return map[string]any{kind: d.Upstream}, nil
	case d.File != "":
		return map[string]any{kind: d.File}, nil
	}
	return none, nil
}

// MarshalYAML returns unlimited, or the keys.
func (r Rate) MarshalYAML() (any, error) {
	if r == (Rate{}) {
		return unlimited, nil
	}
	type keys Rate
	return keys(r), nil
}

// MarshalYAML returns the address alone, or both keys.
func (l Listener) MarshalYAML() (any, error) {
	if l.TLS == (TLS{}) {
		return l.Address, nil
	}
	type keys Listener
	return keys(l), nil
}

// MarshalYAML writes the zero value as the file does.
func (p PATIdentity) MarshalYAML() (any, error) {
	if (Identity{PAT: p}).HasPAT() {
		type plain PATIdentity
		return plain(p), nil
	}
	return none, nil
}

// MarshalYAML writes the zero value as the file does.
func (r Replicas) MarshalYAML() (any, error) {
	if r == (Replicas{}) {
		return r.zeroWord(), nil
	}
	type mapping Replicas
	return mapping(r), nil
}
