package wire

// RepeatedMapKeys reports whether the Request was read from headers, a map, in
// which a header that is read came several times. Envoy sends no such map.
func (r *Request) RepeatedMapKeys() bool { return !r.raw.any && r.mapped.repeated }
