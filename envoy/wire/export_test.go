package wire

// RepeatedMapKeys reports whether the Request was read from headers, a map, in
// which a header that is read came several times. Envoy sends no such map.
func (r *Request) RepeatedMapKeys() bool { return !r.raw.any && r.mapped.repeated }

// Decode reads a frame as a Codec with this clientHeader does.
func Decode(frame []byte, into *Request, clientHeader string) error {
	into.frame = append(into.frame[:0], frame...)
	return into.decode(clientHeader)
}
