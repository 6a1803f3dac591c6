package store

import "strconv"

// stateNames are the states as listings and metrics spell them.
var stateNames = [...]string{
	Pending:  "pending",
	Active:   "active",
	Disabled: "disabled",
	Revoked:  "revoked",
}

// String returns the state in one lower-case word: "pending", "active",
// "disabled" or "revoked"; "state(n)" for a number that is no state.
func (s State) String() string {
	if s.known() {
		return stateNames[s]
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

// ParseState returns the state with this name, as String spells it. ok is
// false, and the state zero, for any other text.
func ParseState(name string) (s State, ok bool) {
	for s := Pending; int(s) < len(stateNames); s++ {
		if stateNames[s] == name {
			return s, true
		}
	}
	return 0, false
}

func (s State) known() bool { return s >= Pending && int(s) < len(stateNames) }
