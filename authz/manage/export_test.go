package manage

import (
	"reflect"
	"time"
)

// Writers returns how many callers have a write budget.
func Writers(m *Manager) int { return reflect.ValueOf(&m.writes).Elem().FieldByName("buckets").Len() }

// CountWrite counts a write of the caller with the given key, under the settings
// for users.
func CountWrite(m *Manager, key string, now time.Time) time.Duration {
	return m.countWrite(key, m.Settings().Writes, now)
}
