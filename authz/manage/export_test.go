package manage

import "time"

// MaxSpenders is how many callers are remembered by what they have written.
const MaxSpenders = maxBudgets

// Spenders returns how many are.
func (m *Manager) Spenders() int {
	m.writeBudgets.mu.Lock()
	defer m.writeBudgets.mu.Unlock()
	return len(m.writeBudgets.limiters)
}

// Spend counts a write of a caller under the rules for people.
func (m *Manager) Spend(who string, now time.Time) time.Duration {
	return m.writeBudgets.take(who, m.Settings().Writes, now)
}
