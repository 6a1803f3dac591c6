package badger

// Size returns how many bytes the database has on disk, as Badger last
// reckoned, which it does every minute.
func (s *Store) Size() int64 {
	tables, log := s.db.Size()
	return tables + log
}
